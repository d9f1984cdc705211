-- Record a message that another program sent, once.
-- KEYS: record, queued:QUEUE:PRIORITY, queued.  ARGV: id, queued (ms), field, value, …
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
local fields = {}
for i = 3, #ARGV do fields[#fields + 1] = ARGV[i] end
redis.call('HSET', KEYS[1], unpack(fields))
redis.call('ZADD', KEYS[2], ARGV[2], ARGV[1])
redis.call('SADD', KEYS[3], KEYS[2])
return 1
