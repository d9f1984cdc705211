-- The end of an invocation: one function, `close`, and what follows from an end.

-- What an answer is made of (gateway/calls/outcome.py); and more, which is kept for a second call with the same key.
local ANSWER = {'function', 'state', 'attempts', 'started', 'ended', 'result', 'result_ref', 'result_type', 'error', 'stop'}
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
    redis.call('XADD', K.log .. parent, 'MAXLEN', '~', 20000, '*', 'at', now,
      'attempt', r[2] == 'waiting' and r[3] + 1 or r[3], 'stream', 'progress', 'text', cjson.encode(told))
  end
  told.at = now / 1000
  redis.call('HSET', key, 'progress', cjson.encode(told), 'far ' .. fan, cjson.encode(far))
end

-- A child of a map has ended: its parent is told. Answers the parent if it may go on now; else ''.
local function answer_parent(id, r, state, now)
  local told = redis.call('HMGET', K.record .. id, 'result', 'result_ref', 'error', 'result_type')
  local kind = state == 'succeeded' and (told[4] and 'file' or told[2] and 'ref' or 'result') or state
  local value = state == 'succeeded' and (told[2] or told[1]) or told[3]
  local fan, parent = K.fan .. r.fan, parent_of(r.fan)
  local total = redis.call('HGET', fan, 'total')
  if not total then return '' end -- its parent is long over
  redis.call('HSETNX', fan, r.fan_index, kind .. '\n' .. (value or ''))
  local last = redis.call('HLEN', fan) - 1 >= tonumber(total)
  if r.amount then went_on(parent, r.fan, tonumber(r.amount), last, now) end
  if not last or redis.call('HGET', K.record .. parent, 'state') ~= 'waiting' then return '' end
  redis.call('ZADD', K.due, now, parent)
  return parent
end

-- What was measured, in the bound it falls under, which `bound_of` tells: `kind` is run, wait, latency (ms) or retries.
-- It is noted in `found`, a field of the counts and by how much it grows in turn.
local function measure(found, kind, name, queue, value, bound_of)
  local field, at = kind .. '\n' .. name .. '\n' .. queue .. '\n', #found
  found[at + 1], found[at + 2] = field .. bound_of(value), 1
  if value > 0 then found[at + 3], found[at + 4] = field .. 'sum', math.floor(value + 0.5) end
end

-- Add what was measured to the counts, all of it by two commands; each field is in it once.
local function add_measured(found)
  local fields = {}
  for i = 1, #found, 2 do fields[#fields + 1] = found[i] end
  if #fields == 0 then return end
  for i, before in ipairs(redis.call('HMGET', K.times, unpack(fields))) do
    found[2 * i] = (before or 0) + found[2 * i]
  end
  redis.call('HSET', K.times, unpack(found))
end

-- An attempt is over: how long it ran, and had waited for its worker.
local function measure_attempt(found, name, queue, queued, started, now)
  if not started then return end
  measure(found, 'run', name, queue, math.max(0, now - started), bound_of_ms)
  if queued then measure(found, 'wait', name, queue, math.max(0, started - queued), bound_of_ms) end
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
  local name, found = r['function'], {}
  if r.state == 'running' then measure_attempt(found, name, r.queue, r.queued, r.started, now) end
  if state ~= 'cancelled' then
    if r.created and not r.round then
      measure(found, 'latency', name, '', math.max(0, now - r.created), bound_of_ms)
    end
    local retries = (tonumber(r.attempts) or 0) - 1
    -- The others are all that ended but these.
    if retries > 0 then measure(found, 'retries', name, '', retries, bound_of_retries) end
  end
  add_measured(found)
  if state == 'cancelled' then return end
  if state == 'succeeded' then
    redis.call('HSET', K.succeeded, name, now)
  else
    count_failure(name, fields)
  end
end

-- What of a record makes its answer, names and values in turn. `r` is what `close` has read of it, and `fields` what it
-- has written since.
local function copied(id, r, fields, names)
  for i = 1, #fields - 1, 2 do r[fields[i]] = fields[i + 1] end
  if r.state ~= 'succeeded' and not r.error then r.error = redis.call('HGET', K.record .. id, 'error') end
  local told, last = {}, 0
  for i = 1, #names do
    local value = r[names[i]]
    if value then
      told[last + 1], told[last + 2] = names[i], type(value) == 'number' and string.format('%.0f', value) or value
      last = last + 2
    end
  end
  return told
end

-- What a waiting caller's gateway is told at the end: the id, and with it what makes the answer, if that is little.
local function answer_of(id, r, fields)
  local told, size = copied(id, r, fields, ANSWER), 0
  for i = 2, #told, 2 do size = size + #told[i] end
  return size <= 16384 and id .. '\n' .. cmsgpack.pack(told) or id
end

local ENDING = {'function', 'queue', 'priority', 'reply_to', 'idem', 'callback', 'fan', 'fan_index', 'gates', 'chained',
  'gate', 'fans', 'expires', 'deadline', 'amount', 'state', 'created', 'queued', 'started', 'attempts', 'round',
  'tenant', 'carrier', 'trigger', 'root', 'stop', 'fence'}

-- A record as `close` reads it.
local function before_end(id) return fields_of(id, ENDING) end

-- Write a terminal state and everything that follows from it, in one step.
-- `limits` begins at `at` in `arguments`: life of successes, life of others, cap per state, life of idempotency keys.
-- `r`: the record as `before_end` reads it, where that was done in this step already.
-- Answers {parent that may go on or '', gates at which others wait…}.
local function close(id, state, arguments, at, fields, r)
  local key, now = K.record .. id, now_ms()
  r = r or before_end(id)
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
  if redis.call('EXISTS', K.log .. id, K.sent .. id) > 0 then -- most have written nothing, and called nobody
    redis.call('PEXPIRE', K.log .. id, life + DAY)
    redis.call('PEXPIRE', K.sent .. id, HOUR)
  end
  redis.call('ZREM', K.running, id)
  if r.state ~= 'running' then -- else it left the other lists when it began
    redis.call('ZREM', waiting_list(r.queue, r.priority), id)
    redis.call('ZREM', K.due, id)
  end
  if r.expires or r.deadline then redis.call('ZREM', K.expiring, id) end
  if r.gate then unpark(id, r.gate) end
  redis.call('ZADD', K.ended .. state, now, id)
  local surplus = redis.call('ZCARD', K.ended .. state) - arguments[at + 2]
  if surplus > 0 then
    for _, old in ipairs(redis.call('ZRANGE', K.ended .. state, 0, math.min(surplus, 100) - 1)) do
      forget(old, state)
    end
  end
  redis.call('HINCRBY', K.totals, r['function'] .. ':' .. state, 1)
  if r.state == 'running' then ran(r.tenant, r.started, r.carrier, now) end
  -- Not into an entry that lapsed meanwhile: its key may belong to another call by now.
  if r.idem and redis.call('HGET', K.idem .. r.idem, 'id') == id then
    redis.call('HSET', K.idem .. r.idem, unpack(copied(id, r, fields, COPIED)))
    redis.call('PEXPIRE', K.idem .. r.idem, arguments[at + 3])
  end
  if r.callback then redis.call('ZADD', K.callbacks, now, id) end
  if r.fans then
    for _, fan in ipairs(split(r.fans)) do redis.call('PEXPIRE', K.fan .. fan, HOUR) end
  end
  local answer = {''}
  if r.fan then answer[1] = answer_parent(id, r, state, now) end
  if r.gates then
    for _, gate in ipairs(leave_gates(id, r.gates)) do answer[#answer + 1] = gate end
  end
  if r.chained then
    local chain = K.chain .. r['function']
    if redis.call('GET', chain .. ':active') == id then
      redis.call('DEL', chain .. ':active')
      redis.call('SET', chain .. ':ended', now, 'PX', 60000)
    end
  end
  if r.trigger == 'bucket' then redis.call('PUBLISH', K.ended_channel, id) end -- only triggers listen
  if r.reply_to then redis.call('PUBLISH', r.reply_to, answer_of(id, r, fields)) end
  return answer
end
