-- Begin an attempt: only one holder at a time, each with a new fence number.
-- KEYS: record, running.  ARGV: id, worker, lease (ms), prefix of the names in `queued`.
-- Answers {verdict, fields…}: 'missing', 'ended', 'held', 'waiting' (for its next attempt), or 'run' with the whole record.
local known = redis.call('HMGET', KEYS[1], 'state', 'queue', 'priority')
local state = known[1]
if not state then return {'missing'} end
if state == 'retrying' then return {'waiting'} end
if state ~= 'queued' and state ~= 'running' then return {'ended'} end
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
if state == 'running' and tonumber(redis.call('HGET', KEYS[1], 'lease')) > now then return {'held'} end
redis.call('HINCRBY', KEYS[1], 'attempts', 1)
redis.call('HINCRBY', KEYS[1], 'fence', 1)
redis.call('HSET', KEYS[1], 'state', 'running', 'worker', ARGV[2], 'lease', now + ARGV[3], 'started', now)
redis.call('ZREM', ARGV[4] .. known[2] .. ':' .. known[3], ARGV[1])
redis.call('ZADD', KEYS[2], now + ARGV[3], ARGV[1])
local answer = redis.call('HGETALL', KEYS[1])
table.insert(answer, 1, 'run')
return answer
