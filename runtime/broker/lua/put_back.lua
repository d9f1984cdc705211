-- Put messages, oldest first, back at the head of the lists they came from.  KEYS: list…  ARGV: message…
for i = #KEYS, 1, -1 do
  tell(string.match(KEYS[i], '^(.*)\6\22%d$') or KEYS[i]) -- the queue's name, without the step of kombu's priority
  redis.call('RPUSH', KEYS[i], ARGV[i])
end
return #KEYS
