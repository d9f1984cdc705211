-- Take answers that are due to be posted. Each keeps its place under a lease: if its sender dies, it is due again.
-- ARGV: token of this claim, lease (ms), how many to take, how many to look at, how many for one host at a time,
--       the host of each that is under way here…
-- Answers {1 when there is more to look at, id, URL, host, number of this attempt, when it ended (ms), id, …}.
local now, room, look, each = now_ms(), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local busy, passed, answer = {}, {}, {0}
for i = 6, #ARGV do busy[ARGV[i]] = (busy[ARGV[i]] or 0) + 1 end

-- Until when a host's circuit is open; nil when it is not. After that one answer probes, and the others wait for it.
local function open_until(host, id)
  local circuit = K.circuit .. 'host:' .. host
  local held = redis.call('HMGET', circuit, 'open', 'probe')
  if not held[1] then return nil end
  if tonumber(held[1]) > now then return tonumber(held[1]) end
  if held[2] and held[2] ~= id and redis.call('ZSCORE', K.callbacks, held[2]) then return now + 1000 end
  redis.call('HSET', circuit, 'probe', id)
  return nil
end

-- An end that was not posted yet begins anew, whatever became of the one before it.
local function begin(key, r)
  if r[3] == r[2] then return tonumber(r[4] or 0) end
  redis.call('HDEL', key, 'callback_attempts', 'callback_error', 'callback_state', 'callback_waits')
  redis.call('HSET', key, 'callback_end', r[2])
  return 0
end

local due = redis.call('ZRANGEBYSCORE', K.callbacks, '-inf', now, 'LIMIT', 0, look)
for _, id in ipairs(due) do
  if room == 0 then break end
  local key = K.record .. id
  local r = redis.call('HMGET', key, 'callback', 'ended', 'callback_end', 'callback_attempts')
  if not r[1] or not r[2] then
    redis.call('ZREM', K.callbacks, id) -- the record is gone, or it was put back to work
  else
    local attempts = begin(key, r)
    local host = string.lower(string.match(r[1], '^%a+://([^/?#]+)') or '')
    local open = (busy[host] or 0) < each and open_until(host, id)
    if open == false then
      passed[#passed + 1] = id
    elseif open then
      redis.call('HSET', key, 'callback_waits', 'circuit')
      redis.call('ZADD', K.callbacks, open, id)
    else
      redis.call('HDEL', key, 'callback_waits')
      redis.call('HSET', key, 'callback_token', ARGV[1])
      redis.call('ZADD', K.callbacks, now + ARGV[2], id)
      room, busy[host] = room - 1, (busy[host] or 0) + 1
      for _, part in ipairs({id, r[1], host, attempts + 1, r[2]}) do answer[#answer + 1] = part end
    end
  end
end
if room > 0 and #due == look then
  -- Those that wait for a busy host must not hide the ones behind them.
  for _, id in ipairs(passed) do redis.call('ZADD', K.callbacks, now + 500, id) end
  answer[1] = 1
end
return answer
