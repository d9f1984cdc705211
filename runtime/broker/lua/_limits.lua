-- Rates and quotas of a tenant and of an API key. `limits`: {quotas ({{of, whose, per ('day' or 'month'), most ({calls,
-- ms, documents, bytes}, of what is limited)}, …}), rates ({{key, µs between two calls, how many may come together}, …}),
-- key (the name under which the key's usage is counted, where it has a quota)}.

-- What was used of each in this day or month, with what `more` adds.
local function used_of(quota, more)
  local month, day = date(now_ms())
  local key, sums = K.usage .. quota.of .. ':' .. month, {}
  for what in pairs(quota.most) do
    local first, last, fields = tonumber(day), tonumber(day), {}
    if quota.per == 'month' then first, last = 1, 31 end
    for at = first, last do fields[#fields + 1] = string.format('%02d:%s', at, what) end
    local sum = more[what] or 0
    for _, value in ipairs(redis.call('HMGET', key, unpack(fields))) do sum = sum + (tonumber(value or 0) or 0) end
    sums[what] = sum
  end
  return sums
end

local function limit_told(quota, what, sum)
  return {what = what, whose = quota.whose, used = sum, limit = quota.most[what], per = quota.per}
end

-- The limit that `more` would go beyond, as JSON; nil where there is none, and then its place in the rates is taken.
-- And what is used then of each quota.
local function beyond(limits, more)
  local sums = {}
  for i, quota in ipairs(limits.quotas) do
    sums[i] = used_of(quota, more)
    for what, limit in pairs(quota.most) do
      local sum = sums[i][what]
      -- What is counted when it has ended (ms) is over when it is reached; what is asked for now may just reach it.
      if sum > limit or (not more[what] and sum >= limit) then
        return cjson.encode(limit_told(quota, what, sum - (more[what] or 0)))
      end
    end
  end
  local now, arrivals = now_us(), {}
  for i, rate in ipairs(limits.rates) do
    -- The generic cell rate algorithm (ITU-T I.371), as in _gates.lua.
    local arrival = math.max(now, tonumber(redis.call('GET', rate[1]) or 0))
    local wait = arrival - now - (rate[3] - 1) * rate[2]
    if wait > 0 then return cjson.encode({what = 'rate', wait = math.ceil(wait / 1000), of = i}) end
    arrivals[i] = arrival + rate[2]
  end
  for i, rate in ipairs(limits.rates) do
    local life = math.ceil((arrivals[i] - now) / 1000) + 1000
    redis.call('SET', rate[1], string.format('%.0f', arrivals[i]), 'PX', life)
  end
  return nil, sums
end

-- The quota of which most is used once four fifths of it are, as JSON; else ''. `sums`: what is used of each.
local function close_to(limits, sums)
  local best, found = 0.8, ''
  for i, quota in ipairs(limits.quotas) do
    for what, sum in pairs(sums[i]) do
      local share = sum / math.max(1, quota.most[what])
      if share >= best then best, found = share, cjson.encode(limit_told(quota, what, sum)) end
    end
  end
  return found
end
