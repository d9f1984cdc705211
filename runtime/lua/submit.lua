-- Record an invocation and queue its message, once: a second call with the same id changes nothing.
-- ARGV: id, function, queue, priority, created (ms), root, message ('' for none), list, delay (ms),
--       gate to wait at ('' for none), may start until (ms, '' for ever), idempotency key, hash of its body,
--       its life (ms), the gathered call it may go with (JSON, '' for none), field, value, field, value, …
-- Answers {'new', id}, {'known', id of the first} or {'differs', id of the first}.
local id = ARGV[1]
if redis.call('EXISTS', K.record .. id) == 1 then return {'known', id} end
if ARGV[12] ~= '' then
  local first = redis.call('HMGET', K.idem .. ARGV[12], 'id', 'body')
  if first[1] then return {first[2] == ARGV[13] and 'known' or 'differs', first[1]} end
  redis.call('HSET', K.idem .. ARGV[12], 'id', id, 'body', ARGV[13])
  redis.call('PEXPIRE', K.idem .. ARGV[12], ARGV[14] + ARGV[9])
end
local created, delay = write_record(ARGV), tonumber(ARGV[9])
if ARGV[10] ~= '' then
  redis.call('ZADD', K.parked .. ':' .. ARGV[10], redis.call('HGET', K.record .. id, 'turn'), id)
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
