-- Record an invocation and queue its message, once: a second call with the same id changes nothing.
-- KEYS: record, queued:QUEUE:PRIORITY, queued, list.  ARGV: id, queued (ms), message, field, value, field, value, …
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
local fields = {}
for i = 4, #ARGV do fields[#fields + 1] = ARGV[i] end
redis.call('HSET', KEYS[1], unpack(fields))
redis.call('ZADD', KEYS[2], ARGV[2], ARGV[1])
redis.call('SADD', KEYS[3], KEYS[2])
redis.call('LPUSH', KEYS[4], ARGV[3])
return 1
