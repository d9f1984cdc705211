-- Begin an attempt: only one holder at a time, each with a new fence number.
-- ARGV: id, worker, lease (ms), four limits (see close), policy of the function (JSON, '' for none)
-- Answers {verdict, fields…}: 'missing', 'ended', 'held', 'waiting' (for its time, or at a gate), or 'run' with the
-- whole record.
local id, r = ARGV[1], look(ARGV[1])
if not r.state then return {'missing'} end
if r.state == 'retrying' or r.state == 'accepted' or r.state == 'waiting' then return {'waiting'} end
if r.state ~= 'queued' and r.state ~= 'running' then return {'ended'} end
local now = now_ms()
if r.state == 'running' and tonumber(r.lease) > now then return {'held'} end
if r.stop then
  close(id, 'cancelled', ARGV, 4, {})
  return {'ended'}
end
if too_late(r) then
  close(id, 'expired', ARGV, 4, {'error', TOO_LATE})
  return {'ended'}
end
if orphaned(r) then
  close(id, 'cancelled', ARGV, 4, {'stop', ORPHANED})
  return {'ended'}
end
if not r.admitted then
  local policy = ARGV[8] ~= '' and cjson.decode(ARGV[8]) or {}
  local gate, why = closed_gate(id, r, policy, true)
  if gate then
    if why == 'key' and policy.key == 'latest' and not only_newest(id, gate, ARGV, 4) then
      return {'ended'}
    end
    park(id, r, gate, why)
    return {'waiting'}
  end
end
local key = K.record .. id
redis.call('HINCRBY', key, 'attempts', 1)
redis.call('HINCRBY', key, 'fence', 1)
redis.call('HSET', key, 'state', 'running', 'worker', ARGV[2], 'lease', now + ARGV[3], 'started', now)
if r.yields then redis.call('HDEL', key, 'yields') end
if r.admitted then redis.call('HDEL', key, 'admitted') end
redis.call('ZREM', waiting_list(r.queue, r.priority), id)
if r.expires and not r.deadline then redis.call('ZREM', K.expiring, id) end
redis.call('ZADD', K.running, now + ARGV[3], id)
local answer = redis.call('HGETALL', key)
table.insert(answer, 1, 'run')
return answer
