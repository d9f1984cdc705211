-- Renew the leases of what one worker runs.  ARGV: worker, lease (ms), id…
-- Answers the ids that it is to stop: it was asked for, or another worker holds them by now.
local till, stop = now_ms() + ARGV[2], {}
for i = 3, #ARGV do
  local key = K.record .. ARGV[i]
  local held = redis.call('HMGET', key, 'state', 'worker', 'stop', 'lease')
  if held[1] == 'running' and held[2] == ARGV[1] then
    -- A lease that was given up stays so: the worker may have listed what it runs just before a child died.
    if tonumber(held[4]) > 0 then
      redis.call('HSET', key, 'lease', till)
      redis.call('ZADD', K.running, 'XX', till, ARGV[i])
    end
    if held[3] then stop[#stop + 1] = ARGV[i] end
  elseif held[1] == 'running' then
    stop[#stop + 1] = ARGV[i]
  end
end
return stop
