-- A parent gives its slot back while its children are out, if the attempt still holds its fence. It keeps its
-- places at gates. The attempt is not counted: when it goes on it is the same one.
-- ARGV: id, fence, name of the fan (PARENT:NUMBER), four limits.  Answers 1, 2 where they have all ended already and it
-- may go on, or 0 where it was fenced off.
local id, key = ARGV[1], K.record .. ARGV[1]
local held = redis.call('HMGET', key, 'state', 'fence', 'stop', 'started', 'tenant')
if held[1] ~= 'running' or held[2] ~= ARGV[2] then return 0 end
if held[3] then
  close(id, 'cancelled', ARGV, 4, {})
  return 1
end
ran(held[5], held[4], nil, now_ms())
redis.call('HSET', key, 'state', 'waiting', 'waits', 'children')
redis.call('HDEL', key, 'lease')
redis.call('HINCRBY', key, 'attempts', -1)
redis.call('ZREM', K.running, id)
local fan = K.fan .. ARGV[3]
local total = redis.call('HGET', fan, 'total')
if not total or redis.call('HLEN', fan) - 1 >= tonumber(total) then
  redis.call('ZADD', K.due, now_ms(), id)
  return 2
end
return 1
