-- Cancel an invocation: at once where it waits, by asking its worker where it runs.
-- ARGV: id, reason, four limits.  Answers {'missing'}, {its terminal state}, {'stopping'}, or {'cancelled', state before}.
local id, key = ARGV[1], K.record .. ARGV[1]
local held = redis.call('HMGET', key, 'state', 'lease', 'ended')
if not held[1] then return {'missing'} end
if held[3] then return {held[1]} end
local reason = ARGV[2] ~= '' and ARGV[2] or 'it was asked for'
if held[1] == 'running' then
  redis.call('HSETNX', key, 'stop', reason)
  if tonumber(held[2]) > now_ms() then
    redis.call('PUBLISH', K.stop_channel, id)
    return {'stopping'}
  end
end
redis.call('HINCRBY', key, 'fence', 1)
close(id, 'cancelled', ARGV, 3, {'stop', reason})
return {'cancelled', held[1]}
