-- May this invocation start now? Shared by claim and admit.
-- A gate is a place where calls wait without a worker: `function:NAME` (paused, circuit, concurrency, rate),
-- `queue:NAME` (paused), `key:FUNCTION:VALUE` (concurrency_key), `fan:PARENT:NUMBER` (calls of one map) and
-- `tenant:QUEUE:TENANT:PRIORITY` (a tenant's share of a queue).

local function works(id)
  local state = redis.call('HGET', K.record .. id, 'state')
  return state == 'queued' or state == 'running' or state == 'waiting'
end

-- Whether there is a place at a gate. `fair`: not before those who wait there already and are older.
local function place(gate, limit, id, turn, fair)
  local key = K.holders .. gate
  if redis.call('ZSCORE', key, id) then return true end
  if fair then
    local first = redis.call('ZRANGE', K.parked .. ':' .. gate, 0, 0, 'WITHSCORES')
    if first[1] and first[1] ~= id and tonumber(first[2]) < turn then return false end
  end
  return redis.call('ZCARD', key) < limit
end

-- The first closed gate and why it is closed; nil when all are open, and then the places are taken.
local function closed_gate(id, r, policy, fair)
  local now, turn = now_ms(), r.turn
  local own, taken = 'function:' .. r['function'], {}
  local paused = redis.call('HMGET', K.paused, own, 'queue:' .. r.queue)
  if paused[1] then return own, 'paused' end
  if paused[2] then return 'queue:' .. r.queue, 'paused' end
  local probe = false
  if policy.circuit then
    local held = redis.call('HMGET', K.circuit .. r['function'], 'open', 'probe')
    if held[1] then
      if tonumber(held[1]) > now then return own, 'circuit' end
      if held[2] and held[2] ~= id and works(held[2]) then return own, 'circuit' end
      probe = true
    end
  end
  if policy.concurrency then
    if not place(own, policy.concurrency, id, turn, fair) then return own, 'concurrency' end
    taken[#taken + 1] = own
  end
  if policy.key and r.key then
    local gate = 'key:' .. r['function'] .. ':' .. r.key
    if not place(gate, 1, id, turn, fair) then return gate, 'key' end
    taken[#taken + 1] = gate
  end
  if r.in_flight then
    local gate = 'fan:' .. r.fan
    if not place(gate, tonumber(r.in_flight), id, turn, false) then return gate, 'children' end
    taken[#taken + 1] = gate
  end
  if r.share then
    if not place(r.share, tonumber(r.share_most), id, turn, fair) then return r.share, 'tenant' end
    taken[#taken + 1] = r.share
  end
  if policy.rate then
    local us = now_us()
    local arrival = math.max(us, tonumber(redis.call('GET', K.rate .. r['function']) or 0))
    if fair and redis.call('EXISTS', K.parked .. ':' .. own) == 1 then return own, 'rate' end
    -- The generic cell rate algorithm (ITU-T I.371): `interval` apart, but `burst` may come together.
    if arrival - us > (policy.burst - 1) * policy.rate then return own, 'rate' end
    local life = math.ceil((arrival + policy.rate - us) / 1000) + 1000
    redis.call('SET', K.rate .. r['function'], string.format('%.0f', arrival + policy.rate), 'PX', life)
  end
  if probe then redis.call('HSET', K.circuit .. r['function'], 'probe', id) end
  for _, gate in ipairs(taken) do redis.call('ZADD', K.holders .. gate, 'NX', now, id) end
  if #taken > 0 then redis.call('HSET', K.record .. id, 'gates', table.concat(taken, '\n')) end
  return nil
end

-- Let an invocation wait at a gate.
local function park(id, r, gate, why)
  redis.call('ZREM', waiting_list(r.queue, r.priority), id)
  if r.gate and r.gate ~= gate then unpark(id, r.gate) end
  redis.call('HSET', K.record .. id, 'state', 'accepted', 'waits', why, 'gate', gate)
  redis.call('ZADD', K.parked .. ':' .. gate, r.turn, id)
  redis.call('SADD', K.parked, gate)
end

local SUPERSEDED = '{"type":"Superseded","message":"a newer call with the same concurrency key took its place",'
  .. '"summary":"a newer call with the same concurrency key took its place"}'

-- With `policy: latest` only the newest waits for a key. False: this one is not the newest.
local function only_newest(id, gate, arguments, at)
  local function turn(one) return tonumber(redis.call('HGET', K.record .. one, 'turn')) end
  local own = turn(id)
  for _, holder in ipairs(redis.call('ZRANGE', K.holders .. gate, 0, -1)) do
    if (turn(holder) or 0) > own then -- this one had the place before, and comes to it again
      close(id, 'cancelled', arguments, at, {'error', SUPERSEDED})
      return false
    end
  end
  for _, other in ipairs(redis.call('ZRANGE', K.parked .. ':' .. gate, 0, -1)) do
    local theirs = other ~= id and turn(other)
    if theirs then
      local loser = theirs <= own and other or id
      close(loser, 'cancelled', arguments, at, {'error', SUPERSEDED})
      if loser == id then return false end
    end
  end
  return true
end

local FIELDS = {'state', 'function', 'queue', 'priority', 'turn', 'key', 'fan', 'in_flight', 'gate', 'admitted',
  'stop', 'expires', 'deadline', 'started', 'lease', 'yields', 'share', 'share_most', 'attempts',
  'fence'}

-- One that was lost goes behind those who wait.
local function turn_of(r) return not r.yields and tonumber(r.turn) or now_us() end

local function look(id)
  local r = fields_of(id, FIELDS)
  r.turn = turn_of(r)
  return r
end

-- Whether the time in which it may be started is over. The first start only counts for `expires`.
local function too_late(r)
  local now = now_ms()
  if r.deadline and tonumber(r.deadline) < now then return true end
  return r.expires and tonumber(r.expires) < now and not r.started
end

-- Whether it is one of a map whose parent has ended: nobody needs it any more.
local function orphaned(r) return r.in_flight and is_over(parent_of(r.fan)) end

local ORPHANED = 'its parent has ended'

local TOO_LATE = '{"type":"Expired","message":"it was not started in the time it was given",'
  .. '"summary":"it was not started in the time it was given"}'
