-- Cancel an invocation: at once where it waits, by asking its worker where it runs.
-- ARGV: id, reason, four limits.  Answers {'missing'}, {its terminal state}, {'stopping'} or {'cancelled'}; the last
-- two with 'children' where it has some that are to be cancelled, too.
local id, key = ARGV[1], K.record .. ARGV[1]
local held = redis.call('HMGET', key, 'state', 'lease', 'ended', 'fans', 'members')
if not held[1] then return {'missing'} end
if held[3] then return {held[1]} end
local reason = ARGV[2] ~= '' and ARGV[2] or 'it was asked for'
local children = held[4] and 'children' or nil
for _, member in ipairs(split(held[5])) do -- of a gathered call
  if redis.call('HGET', K.record .. member, 'carrier') == id and not is_over(member) then
    redis.call('HINCRBY', K.record .. member, 'fence', 1)
    close(member, 'cancelled', ARGV, 3, {'stop', reason})
  end
end
if held[1] == 'running' then
  redis.call('HSETNX', key, 'stop', reason)
  if tonumber(held[2]) > now_ms() then
    redis.call('PUBLISH', K.stop_channel, id)
    return {'stopping', children}
  end
end
redis.call('HINCRBY', key, 'fence', 1)
close(id, 'cancelled', ARGV, 3, {'stop', reason})
return {'cancelled', children}
