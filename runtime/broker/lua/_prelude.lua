-- Steps that several scripts share (runtime/broker/script_parts.py). `K` has the names of runtime/keys.py. Times are
-- milliseconds.

local HOUR, DAY = 3600000, 86400000

local clock = nil

-- Microseconds: the turn of a call, by which those of one millisecond keep their order. A script is one moment.
local function now_us()
  if not clock then
    local time = redis.call('TIME')
    clock = time[1] * 1000000 + time[2]
  end
  return clock
end

local function now_ms() return math.floor(now_us() / 1000) end

-- Fields of a record by their names; those that it does not have are left out.
local function fields_of(id, names)
  local values, r = redis.call('HMGET', K.record .. id, unpack(names)), {}
  for i = 1, #names do if values[i] then r[names[i]] = values[i] end end
  return r
end

local function split(text)
  local parts = {}
  for part in string.gmatch(text or '', '[^\n]+') do parts[#parts + 1] = part end
  return parts
end

-- The list in which a record waits for its queue.
local function waiting_list(queue, priority) return K.queued .. ':' .. queue .. ':' .. priority end

-- Whether it is time to let others in where one has left. A tenant's share of a queue is filled up many at a time.
local function worth_a_look(id, gate)
  if string.sub(gate, 1, 7) ~= 'tenant:' then return true end
  local most = tonumber(redis.call('HGET', K.record .. id, 'share_most')) or 1
  return redis.call('ZCARD', K.holders .. gate) <= most - math.min(16, most / 2)
end

-- Leave the token for which workers of a queue wait: who gets it takes messages by a script that begins with them at
-- once (take.lua). It goes before the message, for they wait for either. One is enough for any number of messages.
local function tell(queue)
  local tokens = K.wake .. queue
  if redis.call('EXISTS', tokens) == 0 then redis.call('LPUSH', tokens, 1) end
end

-- Put a message into its list.
local function send(queue, list, message)
  tell(queue)
  redis.call('LPUSH', list, message)
end

-- Give the places at gates back; answers the gates at which others wait for them.
local function leave_gates(id, gates)
  local open = {}
  for _, gate in ipairs(split(gates)) do
    redis.call('ZREM', K.holders .. gate, id)
    if redis.call('EXISTS', K.parked .. ':' .. gate) == 1 and worth_a_look(id, gate) then
      open[#open + 1] = gate
      -- Whoever takes the answer may die, or not care; a function's gate is looked at all the time.
      if string.sub(gate, 1, 9) ~= 'function:' then redis.call('SADD', K.freed, gate) end
    end
  end
  return open
end

local function unpark(id, gate)
  if not gate then return end
  redis.call('ZREM', K.parked .. ':' .. gate, id)
  if redis.call('EXISTS', K.parked .. ':' .. gate) == 0 then redis.call('SREM', K.parked, gate) end
end

-- Whether an invocation has ended, or was forgotten.
local function is_over(id)
  local r = redis.call('HMGET', K.record .. id, 'state', 'ended')
  return not r[1] or r[2] ~= false
end

-- The parent in the name of a fan, PARENT:NUMBER.
local function parent_of(fan) return string.match(fan, '^(.*):') end

-- Month and day of a moment, in UTC: '2026-03', '01' (days to civil, H. Hinnant).
local function date(now)
  local z = math.floor(now / DAY) + 719468
  local era = math.floor(z / 146097)
  local doe = z - era * 146097
  local yoe = math.floor((doe - math.floor(doe / 1460) + math.floor(doe / 36524) - math.floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + math.floor(yoe / 4) - math.floor(yoe / 100))
  local mp = math.floor((5 * doy + 2) / 153)
  local month = mp < 10 and mp + 3 or mp - 9
  local year = yoe + era * 400 + (month <= 2 and 1 or 0)
  return string.format('%04d-%02d', year, month), string.format('%02d', doy - math.floor((153 * mp + 2) / 5) + 1)
end

-- Count what a tenant uses: calls, ms, documents or bytes, by the day.
local function use(tenant, what, amount, now)
  if amount == 0 then return end
  local month, day = date(now)
  local key = K.usage .. tenant .. ':' .. month
  if redis.call('HINCRBY', key, day .. ':' .. what, amount) == amount then -- the first of its day
    redis.call('PEXPIRE', key, 400 * DAY)
    redis.call('SADD', K.usages, tenant)
  end
end

-- An attempt ends that began at `started`. Members of a gathered call share one, which is counted with their call.
local function ran(tenant, started, carrier, now)
  if started and not carrier then use(tenant or 'default', 'ms', math.max(0, now - started), now) end
end

-- The list in which calls of a function wait to go together: those of one priority, and of one tenant.
local function gathering_list(name, priority, tenant)
  return K.gather .. name .. (tenant and tenant ~= 'default' and '@' .. tenant or '') .. ':' .. priority
end

-- Remove a terminal record and all that hangs on it.
local function forget(id, state)
  local known = redis.call('HMGET', K.record .. id, 'function', 'root', 'state', 'tenant')
  redis.call('ZREM', K.ended .. state, id)
  if known[3] and known[3] ~= state then return end -- it was put back to work
  if redis.call('ZSCORE', K.callbacks, id) then -- its answer is still to be posted: off the lists, but kept a while
    redis.call('PEXPIRE', K.record .. id, 2 * HOUR)
    redis.call('UNLINK', K.log .. id, K.items .. id)
  else
    redis.call('UNLINK', K.record .. id, K.log .. id, K.items .. id)
  end
  redis.call('ZREM', K.all, id)
  if known[1] then redis.call('ZREM', K.by .. known[1], id) end
  if known[2] then redis.call('ZREM', K.tree .. known[2], id) end
  if known[4] and known[4] ~= 'default' then redis.call('ZREM', K.of .. known[4], id) end
end

-- What an attempt of a function with a circuit says of it. `policy` is {failures, window, open}; nil for none.
local function circuit_says(name, id, attempt, bad, policy)
  if not policy or policy[1] == 0 then return end
  local key, now = K.circuit .. name, now_ms()
  local held = redis.call('HMGET', key, 'open', 'probe')
  if not bad then
    if held[2] == id then redis.call('DEL', key, key .. ':failures') end
    return
  end
  redis.call('ZADD', key .. ':failures', now, id .. ':' .. attempt)
  redis.call('ZREMRANGEBYSCORE', key .. ':failures', '-inf', now - policy[2])
  redis.call('PEXPIRE', key .. ':failures', policy[2])
  if held[2] == id or redis.call('ZCARD', key .. ':failures') >= policy[1] then
    redis.call('HSET', key, 'open', now + policy[3])
    redis.call('HDEL', key, 'probe')
    redis.call('PEXPIRE', key, policy[3] + DAY)
    redis.call('DEL', key .. ':failures')
  end
end
