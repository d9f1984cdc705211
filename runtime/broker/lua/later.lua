-- Look at something due again later.  ARGV: id, when (ms)
return redis.call('ZADD', K.due, 'XX', ARGV[2], ARGV[1])
