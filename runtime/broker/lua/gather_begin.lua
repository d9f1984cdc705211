-- Begin the attempts of the members of a gathered call.  ARGV: carrier, worker, lease (ms), four limits
-- Answers a list of {id, field, value, …}; members that ended meanwhile are left out.
local begun, now = {}, now_ms()
for _, id in ipairs(split(redis.call('HGET', K.record .. ARGV[1], 'members'))) do
  local key, r = K.record .. id, look(id)
  redis.call('ZREM', K.gathered, id)
  if r.state == 'queued' and redis.call('HGET', key, 'carrier') == ARGV[1] then
    if too_late(r) then
      close(id, 'expired', ARGV, 4, {'error', TOO_LATE})
    else
      redis.call('HINCRBY', key, 'attempts', 1)
      redis.call('HINCRBY', key, 'fence', 1)
      redis.call('HSET', key, 'state', 'running', 'worker', ARGV[2], 'lease', now + ARGV[3], 'started', now)
      if r.expires and not r.deadline then redis.call('ZREM', K.expiring, id) end
      local answer = redis.call('HGETALL', key)
      table.insert(answer, 1, id)
      begun[#begun + 1] = answer
    end
  end
end
return begun
