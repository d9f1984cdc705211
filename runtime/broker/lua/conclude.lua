-- End an invocation that nobody runs, unless somebody has moved it meanwhile.
-- ARGV: id, expected state, expected fence, expected queued, four limits, new state, field, value, …
local id = ARGV[1]
local held = redis.call('HMGET', K.record .. id, 'state', 'fence', 'queued', 'lease')
if held[1] ~= ARGV[2] or held[2] ~= ARGV[3] or held[3] ~= ARGV[4] then return 0 end
if held[1] == 'running' and tonumber(held[4]) > now_ms() then return 0 end
local fields = {}
for i = 10, #ARGV do fields[#fields + 1] = ARGV[i] end
close(id, ARGV[9], ARGV, 5, fields)
return 1
