-- End what was not started in time, and what nobody needs any more.  ARGV: id, four limits
-- Answers 1 when it has expired.
local id, r = ARGV[1], look(ARGV[1])
if r.state == 'accepted' or r.state == 'queued' or r.state == 'retrying' or r.state == 'waiting' then
  if too_late(r) then
    close(id, 'expired', ARGV, 2, {'error', TOO_LATE})
    return 1
  end
elseif r.state ~= 'running' then
  r = {}
end
-- The clock of whoever looks may be fast, and of two moments the second may still come.
local first = not r.started and tonumber(r.expires) or math.huge
local moment = math.min(first, tonumber(r.deadline) or math.huge)
if moment >= now_ms() and moment < math.huge then
  redis.call('ZADD', K.expiring, moment, id)
else
  redis.call('ZREM', K.expiring, id)
end
return 0
