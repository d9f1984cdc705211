-- Count an object that is about to be put through a gateway, if its tenant may put it.
-- ARGV: tenant, BUCKET/KEY, bytes (0 where they are not known yet), limits (JSON, see _limits.lua, '' for none)
-- Answers {'new', '', the quota that is nearly used up or ''} or {'over', the limit that this would go beyond}.
local now, more, near, key = now_ms(), {documents = 1}, '', nil
if tonumber(ARGV[3]) > 0 then more.bytes = tonumber(ARGV[3]) end
if ARGV[4] ~= '' then
  local limits = cjson.decode(ARGV[4])
  local over, sums = beyond(limits, more)
  if over then return {'over', over} end
  near, key = close_to(limits, sums), limits.key
end
for _, of in ipairs({ARGV[1], key}) do
  use(of, 'documents', 1, now)
  use(of, 'bytes', tonumber(ARGV[3]), now)
end
-- A bucket trigger that hands it out does not count it once more.
redis.call('ZADD', K.counted, now, ARGV[2])
redis.call('ZREMRANGEBYSCORE', K.counted, '-inf', now - DAY)
return {'new', '', near}
