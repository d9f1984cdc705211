-- Say that a process is alive.
-- KEYS: process, processes.  ARGV: what it is (JSON), life (s), its name in the list, till (s), forget those before (s)
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
redis.call('ZADD', KEYS[2], ARGV[4], ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', ARGV[5])
return 1
