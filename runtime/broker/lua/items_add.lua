-- Put the items of a generator into its stream, if the attempt still holds its fence. What is there already (a
-- write that was repeated, an attempt that went on after its children) is left out. Without items it only asks.
-- ARGV: id, fence, number of the attempt, items before these, how many entries to keep, life of the stream (s),
--       patience with a caller who is not heard of (ms), item, …
-- Answers {verdict, how many the waiting caller has taken}: 'ok', 'stop', 'lost' (the fence) or 'gone' (the caller).
local id, key, stream = ARGV[1], K.record .. ARGV[1], K.items .. ARGV[1]
local r = redis.call('HMGET', key, 'state', 'fence', 'stop', 'streamed', 'heard', 'started', 'taken', 'items',
  'items_of', 'reply_to')
if r[1] ~= 'running' or r[2] ~= ARGV[2] then return {'lost', 0} end
if r[3] then return {'stop', 0} end
if r[4] and now_ms() - math.max(tonumber(r[5] or 0), tonumber(r[6])) > tonumber(ARGV[7]) then return {'gone', 0} end
local before, count = tonumber(ARGV[4]), #ARGV - 7
if count > 0 then
  local had = r[9] == ARGV[3] and tonumber(r[8]) or 0
  for i = 1, count do
    if before + i > had then
      redis.call('XADD', stream, 'MAXLEN', ARGV[5], '*', 'attempt', ARGV[3], 'n', before + i, 'data', ARGV[7 + i])
    end
  end
  if before + count > had then redis.call('HSET', key, 'items', before + count, 'items_of', ARGV[3]) end
  redis.call('EXPIRE', stream, ARGV[6])
  if r[4] then redis.call('PUBLISH', r[10], id) end
end
return {'ok', tonumber(r[7] or 0)}
