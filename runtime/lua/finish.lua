-- Write the end of an attempt, if the attempt still holds its fence: the terminal state, what follows, who is told.
-- KEYS: record, running, ended:STATE, totals, chains, chain list, chain active, chain ended
-- ARGV: id, fence, state, life of the record (ms), cap of ended, function, prefix of records,
--       channel of ends, channel of replies, chain member ('' for none), field, value, …
local held = redis.call('HMGET', KEYS[1], 'state', 'fence', 'chained')
if held[1] ~= 'running' or held[2] ~= ARGV[2] then return 0 end
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local fields = {'state', ARGV[3], 'ended', now}
for i = 11, #ARGV do fields[#fields + 1] = ARGV[i] end
redis.call('HSET', KEYS[1], unpack(fields))
redis.call('HDEL', KEYS[1], 'lease')
redis.call('PEXPIRE', KEYS[1], ARGV[4])
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZADD', KEYS[3], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now - ARGV[4])
local surplus = redis.call('ZCARD', KEYS[3]) - ARGV[5]
if surplus > 0 then
  local old = redis.call('ZPOPMIN', KEYS[3], surplus)
  for i = 1, #old, 2 do redis.call('UNLINK', ARGV[7] .. old[i]) end
end
redis.call('HINCRBY', KEYS[4], ARGV[6] .. ':' .. ARGV[3], 1)
if ARGV[10] ~= '' then
  redis.call('RPUSH', KEYS[6], ARGV[10])
  redis.call('SADD', KEYS[5], KEYS[6])
end
if held[3] and redis.call('GET', KEYS[7]) == ARGV[1] then
  redis.call('DEL', KEYS[7])
  redis.call('SET', KEYS[8], now, 'PX', 60000)
end
redis.call('PUBLISH', ARGV[8], ARGV[1])
if ARGV[9] ~= '' then redis.call('PUBLISH', ARGV[9], ARGV[1]) end
return 1
