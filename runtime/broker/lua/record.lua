-- Record a message that another program sent, once. Its message is with a worker, or it waits until it is due.
-- ARGV: as _submit.lua, without a message; the delay (ms) is that of an eta.
-- Answers 1 when it is new.
local id = ARGV[1]
if redis.call('EXISTS', K.record .. id) == 1 then return 0 end
local created, delay = write_record(ARGV), tonumber(ARGV[9])
if delay > 0 then
  redis.call('ZADD', K.due, created + delay, id)
else
  local list = waiting_list(ARGV[3], ARGV[4])
  redis.call('ZADD', list, created, id)
  redis.call('SADD', K.queued, list)
end
return 1
