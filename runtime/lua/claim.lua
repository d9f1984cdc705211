-- Begin an attempt: only one holder at a time, each with a new fence number.
-- KEYS: record, queued, running.  ARGV: id, worker, lease (ms).
-- Answers {verdict, fields…}: 'missing', 'ended', 'held', or 'run' with the whole record.
local state = redis.call('HGET', KEYS[1], 'state')
if not state then
  redis.call('ZREM', KEYS[2], ARGV[1])
  return {'missing'}
end
if state ~= 'queued' and state ~= 'running' and state ~= 'retrying' then return {'ended'} end
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
if state == 'running' and tonumber(redis.call('HGET', KEYS[1], 'lease')) > now then return {'held'} end
redis.call('HINCRBY', KEYS[1], 'attempts', 1)
redis.call('HINCRBY', KEYS[1], 'fence', 1)
redis.call('HSET', KEYS[1], 'state', 'running', 'worker', ARGV[2], 'lease', now + ARGV[3], 'started', now)
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZADD', KEYS[3], now + ARGV[3], ARGV[1])
local answer = redis.call('HGETALL', KEYS[1])
table.insert(answer, 1, 'run')
return answer
