-- Count objects that a bucket trigger has handed out, but for those that a gateway counted when they were put.
-- ARGV: tenant, BUCKET/KEY, bytes, BUCKET/KEY, bytes, …
local documents, bytes = 0, 0
for i = 2, #ARGV, 2 do
  if redis.call('ZREM', K.counted, ARGV[i]) == 0 then
    documents, bytes = documents + 1, bytes + tonumber(ARGV[i + 1])
  end
end
local now = now_ms()
use(ARGV[1], 'documents', documents, now)
use(ARGV[1], 'bytes', bytes, now)
return documents
