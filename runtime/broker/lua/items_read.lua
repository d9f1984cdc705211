-- The next items of a call for the caller who waits for them. That it asks says that it is there, and what it has.
-- ARGV: id, entry that it has read, number of the newest item that it has taken, most entries (0: it only says so)
-- Answers {its state or '', 1 when it has ended, entries}.
local key = K.record .. ARGV[1]
local r = redis.call('HMGET', key, 'state', 'ended')
if not r[1] then return {'', 1, {}} end
if not r[2] then redis.call('HSET', key, 'heard', now_ms(), 'taken', ARGV[3]) end
local entries = {}
if ARGV[4] ~= '0' then entries = redis.call('XRANGE', K.items .. ARGV[1], '(' .. ARGV[2], '+', 'COUNT', ARGV[4]) end
return {r[1], r[2] and 1 or 0, entries}
