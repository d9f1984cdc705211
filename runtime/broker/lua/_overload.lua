-- How much waits before a call, and the share of a queue that one tenant may have.
-- `b`: {name, queue, priority, tenant, key (the gate of its concurrency key), gathered (its calls go together), most
-- (calls that may wait before it), oldest (ms that the first of them may have waited)}. `share`: {gate, most}; nil where tenants are not told apart.

local BRIEF, LONG, ENOUGH = 1000, 30000, 20

-- Add a list to those that a call waits behind, unless it is empty; `unit`: its scores for one millisecond.
local function behind(lists, key, unit)
  local count = redis.call('ZCARD', key)
  if count == 0 then return false end
  local first = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
  lists[#lists + 1] = {key = key, unit = unit, count = count, since = tonumber(first[2]) / unit}
  return true
end

-- How many of them were there at a moment.
local function there_at(lists, at)
  local count = 0
  for _, one in ipairs(lists) do
    count = count + redis.call('ZCOUNT', one.key, '-inf', string.format('%.0f', at * one.unit))
  end
  return count
end

-- Calls a millisecond that leave these lists; nil where this is not known yet. It is measured from one look to a later
-- one by which of those that waited then have gone: at least a second, and as long as it takes for some to go.
local function pace(name, lists, now)
  local key = K.drain .. name
  local kept = redis.call('HMGET', key, 'at', 'count', 'rate')
  local at, rate = tonumber(kept[1]), tonumber(kept[3])
  local took = at and now - at or 0
  local gone = took > 0 and math.max(0, tonumber(kept[2]) - there_at(lists, at)) or 0
  if not at or (took >= BRIEF and (gone >= ENOUGH or took >= LONG)) then
    if at then rate = rate and (rate + gone / took) / 2 or gone / took end
    redis.call('HSET', key, 'at', now, 'count', there_at(lists, now), 'rate', rate or '')
    redis.call('PEXPIRE', key, 10 * LONG)
  elseif not rate and gone > 0 then
    rate = gone / took
  end
  return rate
end

-- Why a call is refused, as JSON: too many wait before it, or for too long. nil where it may wait.
local function crowded(b, share)
  local lists, count, since, now = {}, 0, math.huge, now_ms()
  for priority = b.priority, 9 do behind(lists, waiting_list(b.queue, priority), 1) end
  behind(lists, K.parked .. ':queue:' .. b.queue, 1000)
  behind(lists, K.parked .. ':function:' .. b.name, 1000)
  local key = b.key and behind(lists, K.parked .. ':' .. b.key, 1000) and lists[#lists]
  local mine = share ~= nil and behind(lists, K.parked .. ':' .. share.gate, 1000)
  for _, one in ipairs(lists) do count, since = count + one.count, math.min(since, one.since) end
  if b.gathered then
    local list = gathering_list(b.name, b.priority, b.tenant)
    local first = redis.call('LINDEX', list, 0)
    count = count + redis.call('LLEN', list)
    since = math.min(since, first and tonumber(redis.call('HGET', K.record .. first, 'created')) or since)
  end
  local age = math.max(0, now - since)
  local many, long = b.most and count >= b.most, b.oldest and age >= b.oldest
  local soon = (b.most and count * 2 >= b.most) or (b.oldest and age * 2 >= b.oldest)
  if not soon then return nil end
  local name, measured, waiting = b.name .. ':' .. b.priority, lists, count
  if b.gathered then -- many of them go at once: the pace of the lists is not theirs
    measured = {}
  elseif mine then -- what is admitted stands in the queue's lists as if it had just come: only its own line tells
    name, measured = share.gate, {lists[#lists]}
    waiting = measured[1].count
  elseif key and key.count * 2 > count then -- they go one at a time, whatever the others do
    name, measured, waiting = b.key, {key}, key.count
  end
  local rate = #measured > 0 and pace(name, measured, now) or nil
  if not many and not long then return nil end
  local wait = math.min(math.max(age, BRIEF), 2 * LONG) -- nothing has gone yet: as long as the first has waited by now
  if rate and rate > 0 then
    -- Until a tenth of the room is free, and until who comes then waits for less than `oldest`.
    wait = many and (count - 0.9 * b.most) / rate or 0
    if long then wait = math.max(wait, waiting / rate - b.oldest) end
  end
  return cjson.encode({what = many and 'waiting' or 'oldest', name = b.name, mine = mine, count = count, most = b.most,
    age = age, oldest = b.oldest, rate = rate and rate * 1000 or nil, wait = math.ceil(wait)})
end

-- Whether a new call waits beside its queue, because its tenant has its share of it.
local function beside(id, share)
  local holders, line = K.holders .. share.gate, K.parked .. ':' .. share.gate
  if redis.call('EXISTS', line) == 0 and redis.call('ZCARD', holders) < share.most then
    redis.call('ZADD', holders, now_ms(), id)
    redis.call('HSET', K.record .. id, 'gates', share.gate)
    return false
  end
  redis.call('HSET', K.record .. id, 'state', 'accepted', 'waits', 'tenant', 'gate', share.gate)
  redis.call('ZADD', line, redis.call('HGET', K.record .. id, 'turn'), id)
  redis.call('SADD', K.parked, share.gate)
  return true
end
