-- End what was not started in time.  ARGV: id, four limits.  Answers 1 when it has expired.
local id, r = ARGV[1], look(ARGV[1])
redis.call('ZREM', K.expiring, id)
if (r.state ~= 'accepted' and r.state ~= 'queued') or not too_late(r) then return 0 end
close(id, 'expired', ARGV, 2, {'error', TOO_LATE})
return 1
