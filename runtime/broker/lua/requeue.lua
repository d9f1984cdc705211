-- Queue a recorded invocation again: it was due, its lease ran out, its message was lost, its queue is gone, or
-- somebody wants a terminal one to be run once more (then expected states are terminal and reset is 1).
-- ARGV: id, expected state, expected fence, expected queued, queue, queued now (ms), message, list, reset,
--       four limits
local id, key = ARGV[1], K.record .. ARGV[1]
local held = redis.call('HMGET', key, 'state', 'fence', 'queued', 'lease', 'queue', 'priority', 'gates', 'stop',
  'gate')
if held[1] ~= ARGV[2] or held[2] ~= ARGV[3] or held[3] ~= ARGV[4] then return 0 end
if held[1] == 'running' then
  if tonumber(held[4]) > now_ms() then return 0 end
  if held[8] then
    close(id, 'cancelled', ARGV, 10, {})
    return 1
  end
  if tonumber(held[4]) > 0 then redis.call('HINCRBY', key, 'lost', 1) end
  -- Whoever waits for its place goes first: it comes to the gates once more, behind the others.
  if held[7] then redis.call('HSET', key, 'yields', 1) end
  leave_gates(id, held[7])
  redis.call('HDEL', key, 'gates', 'admitted')
end
if held[1] == 'waiting' then redis.call('HSET', key, 'admitted', 1) end
if ARGV[9] == '1' then
  -- It answers anew into a map that is waited for. The maps of its own are over: it has new children.
  local map = redis.call('HMGET', key, 'fan', 'fan_index', 'fans')
  if map[1] and is_over(parent_of(map[1])) then
    redis.call('HDEL', key, 'fan', 'fan_index', 'in_flight')
  elseif map[1] then
    redis.call('HDEL', K.fan .. map[1], map[2])
  end
  for _, fan in ipairs(split(map[3])) do redis.call('HDEL', key, 'fan ' .. fan) end
  redis.call('HDEL', key, 'fans')
  redis.call('UNLINK', K.items .. id)
  redis.call('PERSIST', key)
  redis.call('HSET', key, 'attempts', 0)
  redis.call('HINCRBY', key, 'round', 1)
  redis.call('HINCRBY', key, 'fence', 1)
  redis.call('HDEL', key, 'lost', 'stop', 'error', 'result', 'result_ref', 'result_type', 'ended', 'expires', 'deadline',
    'due', 'items', 'items_of', 'streamed', 'taken', 'heard')
  redis.call('ZREM', K.ended .. held[1], id)
end
redis.call('HSET', key, 'state', 'queued', 'queue', ARGV[5], 'queued', ARGV[6])
redis.call('HDEL', key, 'lease', 'waits', 'gate', 'due', 'carrier')
unpark(id, held[9])
redis.call('ZREM', waiting_list(held[5], held[6]), id)
local list = waiting_list(ARGV[5], held[6])
redis.call('ZADD', list, ARGV[6], id)
redis.call('SADD', K.queued, list)
redis.call('ZREM', K.running, id)
redis.call('ZREM', K.due, id)
send(ARGV[5], ARGV[8], ARGV[7])
return 1
