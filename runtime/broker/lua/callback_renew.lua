-- Renew the lease of an answer that is about to be posted.  ARGV: id, token, lease (ms).
-- Answers its record (field, value, …); nothing when another sender has it, or it is over.
local key = K.record .. ARGV[1]
if redis.call('HGET', key, 'callback_token') ~= ARGV[2] then return {} end
if not redis.call('ZSCORE', K.callbacks, ARGV[1]) then return {} end
redis.call('ZADD', K.callbacks, now_ms() + ARGV[3], ARGV[1])
return redis.call('HGETALL', key)
