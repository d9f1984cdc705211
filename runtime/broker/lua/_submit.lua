-- Whether a call may be accepted: the limit that it would go beyond (JSON); or nil, the quota that is nearly used up (JSON
-- or ''), and its share of the queue. `terms`: JSON, see _limits.lua and _overload.lua.
local function on_terms(terms)
  local limits = cjson.decode(terms)
  local limit, sums = limits.before and crowded(limits.before, limits.share), nil
  if limit then return limit end
  limit, sums = beyond(limits, {calls = 1})
  if limit then return limit end
  local near = close_to(limits, sums)
  if limits.key then use(limits.key, 'calls', 1, now_ms()) end
  return nil, near, limits.share
end

-- Record an invocation and queue its message, once: a second call with the same id changes nothing.
-- a: id, function, queue, priority, created (ms), root, message ('' for none), list, delay (ms),
--    gate to wait at ('' for none), may start until (ms, '' for ever), idempotency key, hash of its body,
--    its life (ms), the gathered call it may go with (JSON, '' for none), the terms on which it is accepted (JSON,
--    see _limits.lua and _overload.lua, '' for none), field, value, field, value, …
-- Answers {'new', id, the quota that is nearly used up or ''}, {'known', id of the first}, {'differs', id of the
-- first} or {'over', the limit that this would go beyond}.
local function submit(a)
  local id, near, share = a[1], '', nil
  if redis.call('EXISTS', K.record .. id) == 1 then return {'known', id} end
  if a[12] ~= '' then
    local first = redis.call('HMGET', K.idem .. a[12], 'id', 'body')
    if first[1] then return {first[2] == a[13] and 'known' or 'differs', first[1]} end
  end
  if a[16] ~= '' then
    local limit
    limit, near, share = on_terms(a[16])
    if limit then return {'over', limit} end
  end
  if a[12] ~= '' then
    redis.call('HSET', K.idem .. a[12], 'id', id, 'body', a[13])
    redis.call('PEXPIRE', K.idem .. a[12], a[14] + a[9])
  end
  local created, delay = write_record(a), tonumber(a[9])
  if share then redis.call('HSET', K.record .. id, 'share', share.gate, 'share_most', share.most) end
  if a[10] ~= '' then
    redis.call('ZADD', K.parked .. ':' .. a[10], redis.call('HGET', K.record .. id, 'turn'), id)
    redis.call('SADD', K.parked, a[10])
  elseif delay > 0 then
    redis.call('ZADD', K.due, created + delay, id)
  elseif a[15] ~= '' then
    local g = cjson.decode(a[15])
    local list = gathering_list(a[2], a[4], g.tenant)
    redis.call('RPUSH', list, id)
    redis.call('SADD', K.gathering, list)
    send_gathered(list, a[2], a[3], a[4], g, a[7], a[8])
  elseif a[7] ~= '' and not (share and beside(id, share)) then
    local list = waiting_list(a[3], a[4])
    redis.call('ZADD', list, created, id)
    redis.call('SADD', K.queued, list)
    send(a[3], a[8], a[7])
  end
  return {'new', id, near}
end
