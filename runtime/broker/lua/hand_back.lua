-- A worker that is to stop gives an attempt back before its function has ended: as if it had never begun.
-- ARGV: id, worker.  Answers 1, or 0 where the attempt is not that worker's any more.
local key = K.record .. ARGV[1]
local held = redis.call('HMGET', key, 'state', 'worker')
if held[1] ~= 'running' or held[2] ~= ARGV[2] then return 0 end
redis.call('HSET', key, 'lease', 0) -- not run out: that would count as an attempt that was lost
redis.call('HINCRBY', key, 'attempts', -1)
redis.call('HINCRBY', key, 'fence', 1) -- what it writes from now on counts no more
redis.call('ZADD', K.running, 'XX', 0, ARGV[1])
return 1
