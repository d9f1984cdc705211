-- Write a new record and put it on the lists; `a` is the arguments of `submit` (_submit.lua). Answers when it was created.
local function write_record(a)
  local id, created, tenant, now = a[1], tonumber(a[5]), 'default', now_us()
  for i = 17, #a, 2 do
    if a[i] == 'tenant' then
      tenant = a[i + 1]
      break
    end
  end
  redis.call('HSET', K.record .. id, 'turn', now, unpack(a, 17))
  redis.call('ZADD', K.all, created, id)
  redis.call('ZADD', K.by .. a[2], created, id)
  if a[6] ~= id then
    redis.call('ZADD', K.tree .. a[6], created, id)
    redis.call('PEXPIRE', K.tree .. a[6], 8 * DAY)
  end
  if tenant ~= 'default' then redis.call('ZADD', K.of .. tenant, created, id) end
  use(tenant, 'calls', 1, now / 1000)
  if a[11] ~= '' then redis.call('ZADD', K.expiring, a[11], id) end
  return created
end
