-- Keep how far an attempt says that it is, while it runs.  ARGV: id, number of the attempt, JSON
local key = K.record .. ARGV[1]
local held = redis.call('HMGET', key, 'state', 'attempts')
if held[1] ~= 'running' or held[2] ~= ARGV[2] then return 0 end
redis.call('HSET', key, 'progress', ARGV[3])
return 1
