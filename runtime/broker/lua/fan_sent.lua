-- All children of a map are sent.  ARGV: parent, fan (PARENT:NUMBER), word for it
local key = K.record .. ARGV[1]
if redis.call('EXISTS', key) == 1 then redis.call('HSET', key, 'fan ' .. ARGV[2], ARGV[3]) end
return 1
