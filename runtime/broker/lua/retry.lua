-- End an attempt that will be repeated, if it still holds its fence. A stop that was asked for wins.
-- ARGV: id, fence, delay (ms), four limits, circuit (failures, window, open; 0 0 0 for none), 1 when it speaks
--       against the circuit, field, value, …
-- Answers as finish.lua.
local id, key = ARGV[1], K.record .. ARGV[1]
local held = redis.call('HMGET', key, 'state', 'fence', 'stop', 'function', 'gates', 'queue', 'queued', 'started',
  'tenant', 'carrier')
if held[1] ~= 'running' or held[2] ~= ARGV[2] then return {0} end
if held[3] then
  local answer = close(id, 'cancelled', ARGV, 4, {})
  table.insert(answer, 1, 'cancelled')
  table.insert(answer, 1, 1)
  return answer
end
local now = now_ms()
local fields = {'state', 'retrying', 'due', now + ARGV[3]}
for i = 12, #ARGV do fields[#fields + 1] = ARGV[i] end
redis.call('HSET', key, unpack(fields))
redis.call('HDEL', key, 'lease', 'gates')
ran(held[9], held[8], held[10], now)
local found = {}
measure_attempt(found, held[4], held[6], held[7], held[8], now)
add_measured(found)
redis.call('HINCRBY', K.retries, held[4], 1)
redis.call('ZREM', K.running, id)
redis.call('ZADD', K.due, now + ARGV[3], id)
circuit_says(held[4], id, ARGV[2], ARGV[11] == '1', {tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])})
local answer = leave_gates(id, held[5])
table.insert(answer, 1, '')
table.insert(answer, 1, 'retrying')
table.insert(answer, 1, 1)
return answer
