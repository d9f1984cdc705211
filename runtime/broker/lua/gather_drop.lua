-- Take members that have ended out of a list that nobody sends.  ARGV: list, id…
for i = 2, #ARGV do redis.call('LREM', ARGV[1], 1, ARGV[i]) end
if redis.call('EXISTS', ARGV[1]) == 0 then redis.call('SREM', K.gathering, ARGV[1]) end
return 1
