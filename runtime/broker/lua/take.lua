-- Take messages out of their lists, and begin the attempts of the first of them at once: as many as have a process
-- free. The others that have a record are marked with the worker's name (hold.lua).
-- It is sent behind the pop that a worker waits with (runtime/worker/channel.py), so it runs in the same turn of the broker as
-- the submission that woke it: the two are one write to its disk.
-- KEYS: held:WORKER, the worker's list of tokens, list…  The lists in the order in which they are emptied.
-- ARGV: worker, lease (ms), four limits (see close), version of the worker's code, how many to take, with how many to
--       begin, life of the mark (s), functions that may be begun ('\n', and of each its name, '\n', its policy as
--       JSON or '', '\n'), those of them that are so quick that they are begun while no process is free ('\n', name,
--       '\n' of each).  Each are one argument, for every argument costs the broker something.
-- Answers {{list, id, message, word, record}, …}: the word is 'plain' (another program's, or one that names no record
-- here), 'marked', or what `claim` answers; and the record only with its 'run'.
-- Seldom: close
local left, free, taken, marked = tonumber(ARGV[8]), tonumber(ARGV[9]), {}, {}
local all_quick = true -- what waits behind a call that takes long is not begun

local function one(list, raw)
  free = free - 1 -- it is the next for a process, whoever begins it
  -- As runtime/invocations/message.py begins its messages: their bodies may be long.
  local name, id = string.match(raw, '^{"headers": {"lang": "py", "task": "([^"\\\n]+)", "id": "([^"\\]+)"')
  if not id then
    all_quick = false
    return {list, '', raw, 'plain'}
  end
  local line = '\n' .. name .. '\n'
  local _, found = string.find(ARGV[11], line, 1, true)
  all_quick = all_quick and string.find(ARGV[12], line, 1, true) ~= nil
  if found and (free >= 0 or all_quick) then
    local policy = string.match(ARGV[11], '^[^\n]*', found + 1)
    policy = policy ~= '' and cjson.decode(policy) or {}
    local word, record = claim(id, ARGV[1], ARGV[2], policy, ARGV[7], ARGV, 3)
    if word ~= 'run' then free = free + 1 end
    return {list, id, raw, word, record}
  end
  marked[#marked + 1] = id
  return {list, id, raw, 'marked'}
end

local at = 3
while left > 0 and at <= #KEYS do -- one command finds the first list that has any: most have none
  local asked = {unpack(KEYS, at)}
  for _, word in ipairs({'RIGHT', 'COUNT', left}) do asked[#asked + 1] = word end
  local found = redis.call('LMPOP', #KEYS - at + 1, unpack(asked))
  if not found then
    at = #KEYS + 1
    break
  end
  while KEYS[at] ~= found[1] do at = at + 1 end
  for _, raw in ipairs(found[2]) do taken[#taken + 1] = one(at - 3, raw) end
  left = left - #found[2]
  if left > 0 then at = at + 1 end
end
if at <= #KEYS and redis.call('EXISTS', unpack(KEYS, at)) > 0 and redis.call('EXISTS', KEYS[2]) == 0 then
  redis.call('LPUSH', KEYS[2], 1) -- the next pop is to find a token again, and not the message itself
end
if #marked > 0 then
  redis.call('SADD', KEYS[1], unpack(marked))
  redis.call('EXPIRE', KEYS[1], ARGV[10])
end
return taken
