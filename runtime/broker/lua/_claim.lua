-- Begin an attempt: only one holder at a time, each with a new fence number.
-- worker, lease (ms), policy of the function (a table), version of the worker's code; four limits (see close) begin at
-- `at` in `arguments`.
-- Answers 'missing', 'ended', 'held', 'waiting' (for its time, or at a gate), or 'run' and the whole record, names and
-- values in turn.
local function claim(id, worker, lease, policy, version, arguments, at)
  local key = K.record .. id
  local record, r = redis.call('HGETALL', key), {}
  for i = 1, #record, 2 do r[record[i]] = record[i + 1] end
  if not r.state then return 'missing' end
  if r.state == 'retrying' or r.state == 'accepted' or r.state == 'waiting' then return 'waiting' end
  if r.state ~= 'queued' and r.state ~= 'running' then return 'ended' end
  local now = now_ms()
  if r.state == 'running' and tonumber(r.lease) > now then return 'held' end
  if r.stop then
    close(id, 'cancelled', arguments, at, {})
    return 'ended'
  end
  if too_late(r) then
    close(id, 'expired', arguments, at, {'error', TOO_LATE})
    return 'ended'
  end
  if orphaned(r) then
    close(id, 'cancelled', arguments, at, {'stop', ORPHANED})
    return 'ended'
  end
  if not r.admitted then
    r.turn = turn_of(r)
    local gate, why = closed_gate(id, r, policy, true)
    if gate then
      if why == 'key' and policy.key == 'latest' and not only_newest(id, gate, arguments, at) then return 'ended' end
      park(id, r, gate, why)
      return 'waiting'
    end
  end
  local attempts, fence = (r.attempts or 0) + 1, (r.fence or 0) + 1
  redis.call('HSET', key, 'state', 'running', 'worker', worker, 'lease', now + lease, 'started', now,
    'version', version, 'attempts', attempts, 'fence', fence)
  if r.yields then redis.call('HDEL', key, 'yields') end
  if r.admitted then redis.call('HDEL', key, 'admitted') end
  redis.call('ZREM', waiting_list(r.queue, r.priority), id)
  if r.expires and not r.deadline then redis.call('ZREM', K.expiring, id) end
  redis.call('ZADD', K.running, now + lease, id)
  local written = {state = 'running', worker = worker, lease = string.format('%.0f', now + lease),
    started = string.format('%.0f', now), version = version, attempts = string.format('%.0f', attempts),
    fence = string.format('%.0f', fence)}
  for i = 1, #record, 2 do -- it answers what is in the record now
    local name = record[i]
    if written[name] then record[i + 1], written[name] = written[name], nil end
  end
  local last = #record
  for name, value in pairs(written) do
    record[last + 1], record[last + 2] = name, value
    last = last + 2
  end
  return 'run', record
end
