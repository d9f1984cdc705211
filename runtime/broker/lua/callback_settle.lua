-- Write what became of one attempt to post an answer.
-- ARGV: id, token, end that was posted (ms), host, number of the attempt, state (pending: again after the pause),
--       error ('' for none), pause (ms), 1 when it speaks against the host, circuit (failures, window, open).
-- Answers 0 when the answer is another sender's by now.
local id, key = ARGV[1], K.record .. ARGV[1]
local policy = {tonumber(ARGV[10]), tonumber(ARGV[11]), tonumber(ARGV[12])}
circuit_says('host:' .. ARGV[4], id, ARGV[5], ARGV[9] == '1', policy)
local held = redis.call('HMGET', key, 'callback_token', 'ended')
if held[1] ~= ARGV[2] then return 0 end
redis.call('HDEL', key, 'callback_token')
if held[2] ~= ARGV[3] then return 0 end -- it was put back to work, and may have ended again
redis.call('HSET', key, 'callback_attempts', ARGV[5], 'callback_state', ARGV[6], 'callback_error', ARGV[7])
if ARGV[6] == 'pending' then
  redis.call('ZADD', K.callbacks, now_ms() + ARGV[8], id)
else
  redis.call('ZREM', K.callbacks, id)
end
return 1
