-- A worker's child died: give its lease up, so that the next delivery may run.
-- KEYS: record, running.  ARGV: id, worker
local held = redis.call('HMGET', KEYS[1], 'state', 'worker')
if held[1] ~= 'running' or held[2] ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], 'lease', 0)
redis.call('HINCRBY', KEYS[1], 'lost', 1)
redis.call('ZADD', KEYS[2], 'XX', 0, ARGV[1])
return 1
