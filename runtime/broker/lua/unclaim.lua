-- Put back what a worker has begun with in the broker, and nowhere else: as if it had never been taken.
-- KEYS: list…  ARGV: worker, id, message, id, message, …  Oldest first; they go to the heads of their lists.
for i = #KEYS, 1, -1 do
  local id, raw = ARGV[2 * i], ARGV[2 * i + 1]
  local key = K.record .. id
  local r = redis.call('HMGET', key, 'state', 'worker', 'queue', 'priority', 'queued', 'attempts', 'expires', 'deadline')
  if r[1] == 'running' and r[2] == ARGV[1] then
    redis.call('HINCRBY', key, 'attempts', -1)
    redis.call('HSET', key, 'state', 'queued')
    redis.call('HDEL', key, 'lease')
    if r[6] == '1' then
      redis.call('HDEL', key, 'started')
      if r[7] and not r[8] then redis.call('ZADD', K.expiring, r[7], id) end
    end
    redis.call('ZREM', K.running, id)
    local list = waiting_list(r[3], r[4])
    redis.call('ZADD', list, r[5], id)
    redis.call('SADD', K.queued, list)
    tell(r[3])
    redis.call('RPUSH', KEYS[i], raw)
  end
end
return #KEYS
