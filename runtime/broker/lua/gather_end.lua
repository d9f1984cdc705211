-- A gathered call is over: its members have their ends, the carrier is no more.
-- ARGV: carrier, fence, circuit (failures, window, open; 0 0 0 for none), 1 when it speaks against the circuit
-- Answers gates with others who wait.
local key = K.record .. ARGV[1]
local held = redis.call('HMGET', key, 'state', 'fence', 'function', 'queue', 'priority', 'gates', 'started', 'tenant')
if not held[1] or held[2] ~= ARGV[2] then return {} end
circuit_says(held[3], ARGV[1], ARGV[2], ARGV[6] == '1', {tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])})
redis.call('ZREM', K.running, ARGV[1])
redis.call('ZREM', waiting_list(held[4], held[5]), ARGV[1])
redis.call('UNLINK', key)
ran(held[8], held[7], nil, now_ms())
local active = gathering_list(held[3], held[5], held[8]) .. ':active'
if redis.call('GET', active) == ARGV[1] then redis.call('DEL', active) end
return leave_gates(ARGV[1], held[6])
