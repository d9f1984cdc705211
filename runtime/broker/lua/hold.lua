-- Say what a worker has received and not finished.
-- KEYS: held:WORKER.  ARGV: life (s), 1 if these are all (0: these, too), id…
if ARGV[2] == '1' then redis.call('DEL', KEYS[1]) end
for i = 3, #ARGV do redis.call('SADD', KEYS[1], ARGV[i]) end
redis.call('EXPIRE', KEYS[1], ARGV[1])
return #ARGV - 2
