-- Renew the leases of what one worker runs.  KEYS: running, record…  ARGV: worker, lease (ms), id…
local clock = redis.call('TIME')
local till = clock[1] * 1000 + math.floor(clock[2] / 1000) + ARGV[2]
for i = 2, #KEYS do
  local held = redis.call('HMGET', KEYS[i], 'state', 'worker')
  if held[1] == 'running' and held[2] == ARGV[1] then
    redis.call('HSET', KEYS[i], 'lease', till)
    redis.call('ZADD', KEYS[1], 'XX', till, ARGV[i + 1])
  end
end
