-- Set right what upload.lua has counted: the size was not known, or nothing came.
-- ARGV: tenant, BUCKET/KEY, documents to add (0 or -1), bytes to add, key whose usage is counted, too ('' for none)
local now = now_ms()
for _, of in ipairs({ARGV[1], ARGV[5] ~= '' and ARGV[5] or nil}) do
  use(of, 'documents', tonumber(ARGV[3]), now)
  use(of, 'bytes', tonumber(ARGV[4]), now)
end
if tonumber(ARGV[3]) < 0 then redis.call('ZREM', K.counted, ARGV[2]) end
return 1
