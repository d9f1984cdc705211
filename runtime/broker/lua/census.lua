-- How many invocations are in which state.  Answers {JSON of state → count, gate, how many wait there, gate, …}.
-- What is due is looked at one by one, up to a bound: it may be retries, delayed calls or parents.
local BOUND = 10000
local states = {accepted = 0, queued = 0, running = redis.call('ZCARD', K.running), waiting = 0, retrying = 0}
local total = redis.call('ZCARD', K.all)
for _, state in ipairs({'succeeded', 'failed', 'dead', 'cancelled', 'expired'}) do
  states[state] = redis.call('ZCARD', K.ended .. state)
  total = total - states[state]
end
for _, list in ipairs(redis.call('SMEMBERS', K.queued)) do
  states.queued = states.queued + redis.call('ZCARD', list)
end
local looked, due = 0, {accepted = 0, retrying = 0}
for _, id in ipairs(redis.call('ZRANGE', K.due, 0, BOUND - 1)) do
  local state = redis.call('HGET', K.record .. id, 'state')
  if state and due[state] then
    due[state] = due[state] + 1
    looked = looked + 1
  end
end
local more = redis.call('ZCARD', K.due) > BOUND and redis.call('ZCARD', K.due) / math.max(looked, 1) or 1
states.retrying = math.floor(due.retrying * more)
states.accepted = math.floor(due.accepted * more)
local answer = {''}
for _, gate in ipairs(redis.call('SMEMBERS', K.parked)) do
  local count = redis.call('ZCARD', K.parked .. ':' .. gate)
  states.accepted = states.accepted + count
  answer[#answer + 1] = gate
  answer[#answer + 1] = count
end
-- A parent whose children are out stands in no list of its own.
states.waiting = math.max(0, total - states.accepted - states.queued - states.running - states.retrying)
answer[1] = cjson.encode(states)
return answer
