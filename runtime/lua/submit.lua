-- Record an invocation and queue its message, once: a second call with the same id changes nothing.
-- ARGV: id, function, queue, priority, created (ms), root, message ('' for none), list, delay (ms),
--       gate to wait at ('' for none), may start until (ms, '' for ever), idempotency key, hash of its body,
--       its life (ms), the gathered call it may go with (JSON, '' for none), the terms on which it is accepted (JSON,
--       see _limits.lua and _overload.lua, '' for none), field, value, field, value, …
-- Answers {'new', id, the quota that is nearly used up or ''}, {'known', id of the first}, {'differs', id of the
-- first} or {'over', the limit that this would go beyond}.
local id, near, share = ARGV[1], '', nil
if redis.call('EXISTS', K.record .. id) == 1 then return {'known', id} end
if ARGV[12] ~= '' then
  local first = redis.call('HMGET', K.idem .. ARGV[12], 'id', 'body')
  if first[1] then return {first[2] == ARGV[13] and 'known' or 'differs', first[1]} end
end
if ARGV[16] ~= '' then
  local limits = cjson.decode(ARGV[16])
  share = limits.share
  local full = limits.before and crowded(limits.before, share)
  if full then return {'over', full} end
  local over, sums = beyond(limits, {calls = 1})
  if over then return {'over', over} end
  near = close_to(limits, sums)
  if limits.key then use(limits.key, 'calls', 1, now_ms()) end
end
if ARGV[12] ~= '' then
  redis.call('HSET', K.idem .. ARGV[12], 'id', id, 'body', ARGV[13])
  redis.call('PEXPIRE', K.idem .. ARGV[12], ARGV[14] + ARGV[9])
end
local created, delay = write_record(ARGV), tonumber(ARGV[9])
if share then redis.call('HSET', K.record .. id, 'share', share.gate, 'share_most', share.most) end
if ARGV[10] ~= '' then
  redis.call('ZADD', K.parked .. ':' .. ARGV[10], redis.call('HGET', K.record .. id, 'turn'), id)
  redis.call('SADD', K.parked, ARGV[10])
elseif delay > 0 then
  redis.call('ZADD', K.due, created + delay, id)
elseif ARGV[15] ~= '' then
  local g = cjson.decode(ARGV[15])
  local list = gathering_list(ARGV[2], ARGV[4], g.tenant)
  redis.call('RPUSH', list, id)
  redis.call('SADD', K.gathering, list)
  send_gathered(list, ARGV[2], ARGV[3], ARGV[4], g, ARGV[7], ARGV[8])
elseif ARGV[7] ~= '' and not (share and beside(id, share)) then
  local list = waiting_list(ARGV[3], ARGV[4])
  redis.call('ZADD', list, created, id)
  redis.call('SADD', K.queued, list)
  send(ARGV[3], ARGV[8], ARGV[7])
end
return {'new', id, near}
