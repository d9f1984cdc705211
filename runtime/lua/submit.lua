-- Record an invocation and queue its message, once: a second call with the same id changes nothing.
-- ARGV: id, function, queue, priority, created (ms), root, message ('' for none), list, delay (ms),
--       gate to wait at ('' for none), may start until (ms, '' for ever), idempotency key, hash of its body,
--       its life (ms), the gathered call it may go with (JSON, '' for none), field, value, field, value, …
-- Answers {'new', id}, {'known', id of the first} or {'differs', id of the first}.
local id, key = ARGV[1], K.record .. ARGV[1]
if redis.call('EXISTS', key) == 1 then return {'known', id} end
if ARGV[12] ~= '' then
  local first = redis.call('HMGET', K.idem .. ARGV[12], 'id', 'body')
  if first[1] then return {first[2] == ARGV[13] and 'known' or 'differs', first[1]} end
  redis.call('HSET', K.idem .. ARGV[12], 'id', id, 'body', ARGV[13])
  redis.call('PEXPIRE', K.idem .. ARGV[12], ARGV[14] + ARGV[9])
end
local fields, created, delay = {}, tonumber(ARGV[5]), tonumber(ARGV[9])
for i = 16, #ARGV do fields[#fields + 1] = ARGV[i] end
redis.call('HSET', key, unpack(fields))
redis.call('ZADD', K.all, created, id)
redis.call('ZADD', K.by .. ARGV[2], created, id)
if ARGV[6] ~= id then
  redis.call('ZADD', K.tree .. ARGV[6], created, id)
  redis.call('PEXPIRE', K.tree .. ARGV[6], 8 * DAY)
end
if ARGV[11] ~= '' then redis.call('ZADD', K.expiring, ARGV[11], id) end
if ARGV[10] ~= '' then
  redis.call('ZADD', K.parked .. ':' .. ARGV[10], created, id)
  redis.call('SADD', K.parked, ARGV[10])
elseif delay > 0 then
  redis.call('ZADD', K.due, created + delay, id)
elseif ARGV[15] ~= '' then
  local list = K.gather .. ARGV[2] .. ':' .. ARGV[4]
  redis.call('RPUSH', list, id)
  redis.call('SADD', K.gathering, list)
  send_gathered(list, ARGV[2], ARGV[3], ARGV[4], cjson.decode(ARGV[15]), ARGV[7], ARGV[8])
elseif ARGV[7] ~= '' then
  local list = waiting_list(ARGV[3], ARGV[4])
  redis.call('ZADD', list, created, id)
  redis.call('SADD', K.queued, list)
  redis.call('LPUSH', ARGV[8], ARGV[7])
end
return {'new', id}
