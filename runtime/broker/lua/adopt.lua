-- Let an invocation that exists answer into a fan.  ARGV: id, fan, index
-- Answers 1, or 0 where it is unknown, or another parent waits for it.
local id, key, fan = ARGV[1], K.record .. ARGV[1], K.fan .. ARGV[2]
local r = redis.call('HMGET', key, 'state', 'ended', 'result', 'result_ref', 'error', 'fan', 'result_type')
if not r[1] then return 0 end
if r[2] then
  local kind = r[1] == 'succeeded' and (r[7] and 'file' or r[4] and 'ref' or 'result') or r[1]
  redis.call('HSETNX', fan, ARGV[3], kind .. '\n' .. ((r[1] == 'succeeded' and (r[4] or r[3]) or r[5]) or ''))
  return 1
end
-- The same parent asks anew when it is begun anew.
if r[6] and parent_of(r[6]) ~= parent_of(ARGV[2]) then return 0 end
redis.call('HSET', key, 'fan', ARGV[2], 'fan_index', ARGV[3])
return 1
