-- The worker has stopped what it was asked to stop.  ARGV: id, worker, four limits
local held = redis.call('HMGET', K.record .. ARGV[1], 'state', 'worker', 'stop')
if held[1] ~= 'running' or held[2] ~= ARGV[2] or not held[3] then return 0 end
redis.call('HINCRBY', K.record .. ARGV[1], 'fence', 1)
close(ARGV[1], 'cancelled', ARGV, 3, {})
return 1
