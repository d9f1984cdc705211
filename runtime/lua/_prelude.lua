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

-- Give the places at gates back; answers the gates at which others wait for them.
local function leave_gates(id, gates)
  local open = {}
  for _, gate in ipairs(split(gates)) do
    redis.call('ZREM', K.holders .. gate, id)
    if redis.call('EXISTS', K.parked .. ':' .. gate) == 1 then
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

-- Remove a terminal record and all that hangs on it.
local function forget(id, state)
  local known = redis.call('HMGET', K.record .. id, 'function', 'root', 'state')
  redis.call('ZREM', K.ended .. state, id)
  if known[3] and known[3] ~= state then return end -- it was put back to work
  if redis.call('ZSCORE', K.callbacks, id) then -- its answer is still to be posted: off the lists, but kept a while
    redis.call('PEXPIRE', K.record .. id, 2 * HOUR)
    redis.call('UNLINK', K.log .. id)
  else
    redis.call('UNLINK', K.record .. id, K.log .. id)
  end
  redis.call('ZREM', K.all, id)
  if known[1] then redis.call('ZREM', K.by .. known[1], id) end
  if known[2] then redis.call('ZREM', K.tree .. known[2], id) end
end

local COPIED = {'function', 'state', 'queue', 'priority', 'tenant', 'trigger', 'attempts', 'created', 'started',
  'ended', 'root', 'result', 'result_ref', 'error', 'stop'}

-- Write a terminal state and everything that follows from it, in one step.
-- `limits` begins at `at` in `arguments`: life of successes, life of others, cap per state, life of idempotency keys.
-- Answers {parent that may go on or '', gates at which others wait…}.
local function close(id, state, arguments, at, fields)
  local key, now = K.record .. id, now_ms()
  local r = redis.call('HMGET', key, 'function', 'queue', 'priority', 'reply_to', 'idem', 'callback', 'fan',
    'fan_index', 'gates', 'chained', 'gate', 'fans', 'expires', 'deadline')
  local life = tonumber(state == 'succeeded' and arguments[at] or arguments[at + 1])
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
    local told = redis.call('HMGET', key, 'result', 'result_ref', 'error')
    local kind = state == 'succeeded' and (told[2] and 'ref' or 'result') or state
    local value = state == 'succeeded' and (told[2] or told[1]) or told[3]
    local fan, parent = K.fan .. r[7], parent_of(r[7])
    local total = redis.call('HGET', fan, 'total')
    if total then -- else its parent is long over
      redis.call('HSETNX', fan, r[8], kind .. '\n' .. (value or ''))
      if redis.call('HLEN', fan) - 1 >= tonumber(total)
        and redis.call('HGET', K.record .. parent, 'state') == 'waiting' then
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
  if r[4] then redis.call('PUBLISH', r[4], id) end
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
