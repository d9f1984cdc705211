-- Gathered calls: many invocations, one call of a handler that takes a list. The call's own record (the carrier)
-- names its members; they keep records, attempts and results of their own.

-- Whether those who wait go now: nobody is out for this function, enough are here, or the first has waited enough.
local function is_full(list, most, window)
  local out = redis.call('GET', list .. ':active')
  if not out or redis.call('EXISTS', K.record .. out) == 0 then return true end
  if redis.call('LLEN', list) >= most then return true end
  local first = redis.call('LINDEX', list, 0)
  local since = first and redis.call('HGET', K.record .. first, 'created')
  return not since or now_ms() - since >= window
end

-- Send what waits in `list` as one call. g: {carrier, most, window, tenant}; `message` is the carrier's.
local function send_gathered(list, name, queue, priority, g, message, target)
  if redis.call('LLEN', list) == 0 or not is_full(list, g.most, g.window) then return 0 end
  local now, members = now_ms(), {}
  for _, id in ipairs(redis.call('LPOP', list, g.most)) do
    local key = K.record .. id
    if redis.call('HGET', key, 'state') == 'accepted' then -- some were cancelled, or came too late
      redis.call('HSET', key, 'state', 'queued', 'queued', now, 'carrier', g.carrier)
      redis.call('HDEL', key, 'waits')
      redis.call('ZADD', K.gathered, now, id)
      members[#members + 1] = id
    end
  end
  if redis.call('EXISTS', list) == 0 then redis.call('SREM', K.gathering, list) end
  if #members == 0 then return 0 end
  redis.call('HSET', K.record .. g.carrier, 'function', name, 'state', 'queued', 'queue', queue, 'priority', priority,
    'tenant', g.tenant, 'trigger', 'gather', 'attempts', 0, 'fence', 0, 'turn', now_us(),
    'created', now, 'queued', now, 'root', g.carrier, 'arguments', '\128', 'members', table.concat(members, '\n'))
  local wait = waiting_list(queue, priority)
  redis.call('ZADD', wait, now, g.carrier)
  redis.call('SADD', K.queued, wait)
  send(queue, target, message)
  redis.call('SET', list .. ':active', g.carrier)
  return 1
end
