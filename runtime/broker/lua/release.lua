-- A worker's child died: give its lease up, so that the next delivery may run.
-- ARGV: id, worker
local key = K.record .. ARGV[1]
local held = redis.call('HMGET', key, 'state', 'worker')
if held[1] ~= 'running' or held[2] ~= ARGV[2] then return 0 end
redis.call('HSET', key, 'lease', 0)
redis.call('HINCRBY', key, 'lost', 1)
redis.call('ZADD', K.running, 'XX', 0, ARGV[1])
return 1
