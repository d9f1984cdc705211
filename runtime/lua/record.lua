-- Record a message that another program sent, once. Its message is with a worker, or it waits until it is due.
-- ARGV: as submit.lua, without a message; the delay (ms) is that of an eta.
-- Answers 1 when it is new.
local id, key = ARGV[1], K.record .. ARGV[1]
if redis.call('EXISTS', key) == 1 then return 0 end
local fields, created, delay = {}, tonumber(ARGV[5]), tonumber(ARGV[9])
for i = 16, #ARGV do fields[#fields + 1] = ARGV[i] end
redis.call('HSET', key, unpack(fields))
redis.call('ZADD', K.all, created, id)
redis.call('ZADD', K.by .. ARGV[2], created, id)
if ARGV[6] ~= id then
  redis.call('ZADD', K.tree .. ARGV[6], created, id)
  redis.call('PEXPIRE', K.tree .. ARGV[6], 8 * DAY)
end
if ARGV[11] ~= '' then redis.call('ZADD', K.expiring, ARGV[11], id) end
if delay > 0 then
  redis.call('ZADD', K.due, created + delay, id)
else
  local list = waiting_list(ARGV[3], ARGV[4])
  redis.call('ZADD', list, created, id)
  redis.call('SADD', K.queued, list)
end
return 1
