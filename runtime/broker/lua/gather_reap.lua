-- Members that have not begun for a while.  ARGV: before (ms), how many to look at
-- Answers those whose gathered call is over; the next look begins behind all of these.
local lost, now = {}, now_ms()
for _, id in ipairs(redis.call('ZRANGEBYSCORE', K.gathered, '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])) do
  local member = redis.call('HMGET', K.record .. id, 'state', 'carrier')
  if member[1] == 'queued' and member[2] then
    redis.call('ZADD', K.gathered, 'XX', now, id)
    if is_over(member[2]) then lost[#lost + 1] = id end
  else
    redis.call('ZREM', K.gathered, id)
  end
end
return lost
