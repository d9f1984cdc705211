-- Queue a recorded invocation again: it was due, its lease ran out, its message was lost, or its queue is gone.
-- KEYS: record, queued:QUEUE:PRIORITY before, the same now, queued, running, due, list
-- ARGV: id, expected state, expected fence, expected queued, queue, queued now (ms), message
local held = redis.call('HMGET', KEYS[1], 'state', 'fence', 'queued', 'lease')
if held[1] ~= ARGV[2] or held[2] ~= ARGV[3] or held[3] ~= ARGV[4] then return 0 end
if held[1] == 'running' then
  local clock = redis.call('TIME')
  if tonumber(held[4]) > clock[1] * 1000 + math.floor(clock[2] / 1000) then return 0 end
  if tonumber(held[4]) > 0 then redis.call('HINCRBY', KEYS[1], 'lost', 1) end
end
redis.call('HSET', KEYS[1], 'state', 'queued', 'queue', ARGV[5], 'queued', ARGV[6])
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZADD', KEYS[3], ARGV[6], ARGV[1])
redis.call('SADD', KEYS[4], KEYS[3])
redis.call('ZREM', KEYS[5], ARGV[1])
redis.call('ZREM', KEYS[6], ARGV[1])
redis.call('LPUSH', KEYS[7], ARGV[7])
return 1
