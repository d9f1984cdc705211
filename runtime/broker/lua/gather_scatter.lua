-- The worker of a gathered call is gone: its members go on by themselves, so that one of them that kills its
-- worker takes no other with it.  ARGV: carrier, fence, 1 for its holder (the lease is still good).  Answers the members that were running.
local key, ids = K.record .. ARGV[1], {}
local held = redis.call('HMGET', key, 'state', 'fence', 'members', 'lease', 'function', 'queue', 'priority', 'gates', 'gate')
if not held[1] or held[2] ~= ARGV[2] then return ids end
if ARGV[3] ~= '1' and held[1] == 'running' and tonumber(held[4]) > now_ms() then return ids end
for _, id in ipairs(split(held[3])) do
  local member = redis.call('HMGET', K.record .. id, 'state', 'carrier')
  if member[2] == ARGV[1] and (member[1] == 'running' or member[1] == 'queued') then
    if member[1] == 'running' then -- the upkeep finds it, should we die before it is queued
      redis.call('HSET', K.record .. id, 'lease', 1)
      redis.call('ZADD', K.running, 1, id)
    end
    ids[#ids + 1] = id
  end
end
leave_gates(ARGV[1], held[8])
unpark(ARGV[1], held[9])
redis.call('ZREM', K.running, ARGV[1])
redis.call('ZREM', waiting_list(held[6], held[7]), ARGV[1])
redis.call('UNLINK', key)
return ids
