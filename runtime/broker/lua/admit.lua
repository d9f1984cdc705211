-- Queue what waits at a gate, if there is a place for it now.
-- ARGV: id, gate it waits at, four limits, policy of the function (JSON, '' for none), queued (ms), message, list,
--       queue
-- Answers 1: queued; 0: the gate is closed; 2: it waits elsewhere now, or no more.
local id, r = ARGV[1], look(ARGV[1])
if r.state ~= 'accepted' or r.gate ~= ARGV[2] then
  unpark(id, ARGV[2])
  return 2
end
if too_late(r) then
  close(id, 'expired', ARGV, 3, {'error', TOO_LATE})
  return 2
end
if orphaned(r) then
  close(id, 'cancelled', ARGV, 3, {'stop', ORPHANED})
  return 2
end
r.queue = ARGV[11]
local policy = ARGV[7] ~= '' and cjson.decode(ARGV[7]) or {}
local gate, why = closed_gate(id, r, policy, false)
if gate then
  if why == 'key' and policy.key == 'latest' and not only_newest(id, gate, ARGV, 3) then return 2 end
  if gate == r.gate then
    redis.call('HSET', K.record .. id, 'waits', why)
    return 0
  end
  park(id, r, gate, why)
  return 2
end
unpark(id, r.gate)
redis.call('HSET', K.record .. id, 'state', 'queued', 'queued', ARGV[8], 'queue', ARGV[11], 'admitted', 1)
redis.call('HDEL', K.record .. id, 'waits', 'gate')
local list = waiting_list(ARGV[11], r.priority)
redis.call('ZADD', list, ARGV[8], id)
redis.call('SADD', K.queued, list)
send(ARGV[11], ARGV[10], ARGV[9])
return 1
