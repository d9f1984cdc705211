-- Whether an attempt that was begun a while ago is still its worker's; then its lease begins anew.
-- ARGV: id, worker, fence, lease (ms)
local key = K.record .. ARGV[1]
local held = redis.call('HMGET', key, 'state', 'worker', 'fence', 'lease')
if held[1] ~= 'running' or held[2] ~= ARGV[2] or held[3] ~= ARGV[3] or tonumber(held[4]) == 0 then return 0 end
local till = now_ms() + ARGV[4]
redis.call('HSET', key, 'lease', till)
redis.call('ZADD', K.running, 'XX', till, ARGV[1])
return 1
