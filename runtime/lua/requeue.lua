-- Queue a recorded invocation again: it was due, its lease ran out, or its message was lost.
-- KEYS: record, queued, running, due, list.  ARGV: id, expected state, expected fence, expected queued, new queued (ms), message
local held = redis.call('HMGET', KEYS[1], 'state', 'fence', 'queued', 'lease')
if held[1] ~= ARGV[2] or held[2] ~= ARGV[3] or held[3] ~= ARGV[4] then return 0 end
if held[1] == 'running' then
  local clock = redis.call('TIME')
  if tonumber(held[4]) > clock[1] * 1000 + math.floor(clock[2] / 1000) then return 0 end
  if tonumber(held[4]) > 0 then redis.call('HINCRBY', KEYS[1], 'lost', 1) end
end
redis.call('HSET', KEYS[1], 'state', 'queued', 'queued', ARGV[5])
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('ZREM', KEYS[4], ARGV[1])
redis.call('ZADD', KEYS[2], ARGV[5], ARGV[1])
redis.call('LPUSH', KEYS[5], ARGV[6])
return 1
