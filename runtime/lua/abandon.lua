-- End an invocation that nobody can run any more, unless somebody has moved it meanwhile.
-- KEYS: record, queued:QUEUE:PRIORITY, running, due, ended:dead, totals
-- ARGV: id, expected state, expected fence, expected queued, life of the record (ms), function, error,
--       channel of ends, channel of replies ('' for none)
local held = redis.call('HMGET', KEYS[1], 'state', 'fence', 'queued', 'lease')
if held[1] ~= ARGV[2] or held[2] ~= ARGV[3] or held[3] ~= ARGV[4] then return 0 end
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
if held[1] == 'running' and tonumber(held[4]) > now then return 0 end
redis.call('HSET', KEYS[1], 'state', 'dead', 'ended', now, 'error', ARGV[7])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
for i = 2, 4 do redis.call('ZREM', KEYS[i], ARGV[1]) end
redis.call('ZADD', KEYS[5], now, ARGV[1])
redis.call('HINCRBY', KEYS[6], ARGV[6] .. ':dead', 1)
redis.call('PUBLISH', ARGV[8], ARGV[1])
if ARGV[9] ~= '' then redis.call('PUBLISH', ARGV[9], ARGV[1]) end
return 1
