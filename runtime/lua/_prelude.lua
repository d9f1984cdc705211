-- Steps that several scripts share. `K` has the names of runtime/keys.py. Times are milliseconds.

local HOUR, DAY = 3600000, 86400000

local function now_ms()
  local clock = redis.call('TIME')
  return clock[1] * 1000 + math.floor(clock[2] / 1000)
end

-- Microseconds: the turn of a call, by which those of one millisecond keep their order.
local function now_us()
  local clock = redis.call('TIME')
  return clock[1] * 1000000 + clock[2]
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

-- Put a message into its list. The token goes first: a worker that waits for either is woken by the token, and takes
-- the message by a script that begins with it at once (take.lua). One token is enough for any number of messages.
local function send(queue, list, message)
  local tokens = K.wake .. queue
  if redis.call('EXISTS', tokens) == 0 then redis.call('LPUSH', tokens, 1) end
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
local function over(id)
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

local COPIED = {'function', 'state', 'queue', 'priority', 'tenant', 'trigger', 'attempts', 'created', 'started',
  'ended', 'root', 'result', 'result_ref', 'result_type', 'error', 'stop'}

-- A child of a map has ended: the progress of its parent goes on by its amount. Of many ends at once the stream of
-- output tells one, and the last.
local function went_on(parent, fan, amount, last, now)
  local key = K.record .. parent
  local r = redis.call('HMGET', key, 'far ' .. fan, 'state', 'attempts')
  if not r[1] or (r[2] ~= 'running' and r[2] ~= 'waiting') then return end
  local far = cjson.decode(r[1])
  far.ended = far.ended + amount
  local done, seconds = far.done + far.ended, (now - far.since) / 1000
  local total = type(far.total) == 'number' and far.total or nil
  if total and done > total then done = total end -- one that was run once more counts twice
  local told = {done = done, total = total or cjson.null, message = far.message}
  if far.ended > 0 and seconds > 0 then
    told.per_second = math.floor(far.ended / seconds * 100 + 0.5) / 100
    if total then told.seconds_left = math.floor((total - done) * seconds / far.ended * 10 + 0.5) / 10 end
  end
  if last or now - far.said >= 500 then
    far.said = now
    -- A parent that waits is told with the attempt that it goes on with.
    redis.call('XADD', K.log .. parent, 'MAXLEN', '~', 20000, '*', 'at', string.format('%.0f', now),
      'attempt', r[2] == 'waiting' and r[3] + 1 or r[3], 'stream', 'progress', 'text', cjson.encode(told))
  end
  told.at = now / 1000
  redis.call('HSET', key, 'progress', cjson.encode(told), 'far ' .. fan, cjson.encode(far))
end

-- What was measured, in the bound it falls under: `kind` is run, wait, latency (ms) or retries.
local function measure(kind, name, queue, value, bounds)
  local field, bound = kind .. '\n' .. name .. '\n' .. queue .. '\n', 'inf'
  for i = 1, #bounds do
    if value <= bounds[i] then
      bound = bounds[i]
      break
    end
  end
  redis.call('HINCRBY', K.times, field .. bound, 1)
  if value > 0 then redis.call('HINCRBY', K.times, field .. 'sum', value) end
end

-- An attempt is over: how long it ran, and had waited for its worker.
local function measure_attempt(name, queue, queued, started, now)
  if not started then return end
  measure('run', name, queue, math.max(0, now - started), MS)
  if queued then measure('wait', name, queue, math.max(0, started - queued), MS) end
end

-- A failure, by the type of its error. There are so many of them at most: a type may be made up by whoever raises it.
local function count_failure(name, fields)
  local kind = 'unknown'
  for i = 1, #fields - 1, 2 do
    if fields[i] == 'error' then
      local known, told = pcall(cjson.decode, fields[i + 1])
      if known and type(told) == 'table' and type(told.type) == 'string' then kind = string.sub(told.type, 1, 100) end
    end
  end
  local field = name .. '\n' .. kind
  if redis.call('HEXISTS', K.failures, field) == 0 and redis.call('HLEN', K.failures) >= 1000 then
    field = name .. '\nother'
  end
  redis.call('HINCRBY', K.failures, field, 1)
end

-- An invocation is over. `r` is what `close` has read. What was asked for twice has no latency.
local function measure_end(r, state, fields, now)
  if r[16] == 'running' then measure_attempt(r[1], r[2], r[18], r[19], now) end
  if state == 'cancelled' then return end
  if r[17] and not r[21] then measure('latency', r[1], '', math.max(0, now - r[17]), MS) end
  local retries = (tonumber(r[20]) or 0) - 1
  if retries > 0 then measure('retries', r[1], '', retries, RETRIES) end -- the others are all that ended but these
  if state == 'succeeded' then
    redis.call('HSET', K.succeeded, r[1], now)
  else
    count_failure(r[1], fields)
  end
end

-- What a waiting caller's gateway is told at the end: the id, and with it what makes the answer, if that is little.
local function answer_of(id)
  local told, size = {}, 0
  for i, value in ipairs(redis.call('HMGET', K.record .. id, unpack(COPIED))) do
    if value then
      told[#told + 1] = COPIED[i]
      told[#told + 1] = value
      size = size + #value
    end
  end
  return size <= 16384 and id .. '\n' .. cmsgpack.pack(told) or id
end

-- Write a terminal state and everything that follows from it, in one step.
-- `limits` begins at `at` in `arguments`: life of successes, life of others, cap per state, life of idempotency keys.
-- Answers {parent that may go on or '', gates at which others wait…}.
local function close(id, state, arguments, at, fields)
  local key, now = K.record .. id, now_ms()
  local r = redis.call('HMGET', key, 'function', 'queue', 'priority', 'reply_to', 'idem', 'callback', 'fan',
    'fan_index', 'gates', 'chained', 'gate', 'fans', 'expires', 'deadline', 'amount', 'state', 'created', 'queued',
    'started', 'attempts', 'round', 'tenant', 'carrier')
  local life = tonumber(state == 'succeeded' and arguments[at] or arguments[at + 1])
  measure_end(r, state, fields, now)
  fields[#fields + 1] = 'state'
  fields[#fields + 1] = state
  fields[#fields + 1] = 'ended'
  fields[#fields + 1] = now
  redis.call('HSET', key, unpack(fields))
  redis.call('HDEL', key, 'lease', 'waits', 'gate', 'gates', 'admitted')
  -- The upkeep forgets it in time, with all that hangs on it; its own life is for a system without upkeep.
  redis.call('PEXPIRE', key, life + DAY)
  redis.call('PEXPIRE', K.log .. id, life + DAY)
  redis.call('ZREM', waiting_list(r[2], r[3]), id)
  redis.call('ZREM', K.running, id)
  redis.call('ZREM', K.due, id)
  if r[13] or r[14] then redis.call('ZREM', K.expiring, id) end
  unpark(id, r[11])
  redis.call('ZADD', K.ended .. state, now, id)
  local surplus = redis.call('ZCARD', K.ended .. state) - arguments[at + 2]
  if surplus > 0 then
    for _, old in ipairs(redis.call('ZRANGE', K.ended .. state, 0, math.min(surplus, 100) - 1)) do
      forget(old, state)
    end
  end
  redis.call('HINCRBY', K.totals, r[1] .. ':' .. state, 1)
  if r[16] == 'running' then ran(r[22], r[19], r[23], now) end
  -- Not into an entry that lapsed meanwhile: its key may belong to another call by now.
  if r[5] and redis.call('HGET', K.idem .. r[5], 'id') == id then
    local kept = {}
    for i, value in ipairs(redis.call('HMGET', key, unpack(COPIED))) do
      if value then
        kept[#kept + 1] = COPIED[i]
        kept[#kept + 1] = value
      end
    end
    redis.call('HSET', K.idem .. r[5], unpack(kept))
    redis.call('PEXPIRE', K.idem .. r[5], arguments[at + 3])
  end
  if r[6] then redis.call('ZADD', K.callbacks, now, id) end
  for _, fan in ipairs(split(r[12])) do redis.call('PEXPIRE', K.fan .. fan, HOUR) end
  redis.call('PEXPIRE', K.sent .. id, HOUR)
  local answer = {''}
  if r[7] then
    local told = redis.call('HMGET', key, 'result', 'result_ref', 'error', 'result_type')
    local kind = state == 'succeeded' and (told[4] and 'file' or told[2] and 'ref' or 'result') or state
    local value = state == 'succeeded' and (told[2] or told[1]) or told[3]
    local fan, parent = K.fan .. r[7], parent_of(r[7])
    local total = redis.call('HGET', fan, 'total')
    if total then -- else its parent is long over
      redis.call('HSETNX', fan, r[8], kind .. '\n' .. (value or ''))
      local last = redis.call('HLEN', fan) - 1 >= tonumber(total)
      if r[15] then went_on(parent, r[7], tonumber(r[15]), last, now) end
      if last and redis.call('HGET', K.record .. parent, 'state') == 'waiting' then
        redis.call('ZADD', K.due, now, parent)
        answer[1] = parent
      end
    end
  end
  for _, gate in ipairs(leave_gates(id, r[9])) do answer[#answer + 1] = gate end
  if r[10] and redis.call('GET', K.chain .. r[1] .. ':active') == id then
    redis.call('DEL', K.chain .. r[1] .. ':active')
    redis.call('SET', K.chain .. r[1] .. ':ended', now, 'PX', 60000)
  end
  redis.call('PUBLISH', K.ended_channel, id)
  if r[4] then redis.call('PUBLISH', r[4], answer_of(id)) end
  return answer
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
