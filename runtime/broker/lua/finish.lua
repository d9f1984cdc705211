-- Write the end of an attempt, if the attempt still holds its fence. A stop that was asked for wins.
-- ARGV: id, fence, state, four limits, chain that follows ('' for none), its member, circuit (failures, window,
--       open; 0 0 0 for none), 1 when it speaks against the circuit, field, value, …
-- Answers {0}, or {1, state, parent that may go on, gates with others…}.
-- Seldom: answer_parent, leave_gates
local id = ARGV[1]
local held = before_end(id)
if held.state ~= 'running' or held.fence ~= ARGV[2] then return {0} end
local fields, state = {}, ARGV[3]
if held.stop then
  state = 'cancelled'
else
  for i = 14, #ARGV do fields[#fields + 1] = ARGV[i] end
  if ARGV[10] ~= '0' then
    local policy = {tonumber(ARGV[10]), tonumber(ARGV[11]), tonumber(ARGV[12])}
    circuit_says(held['function'], id, ARGV[2], ARGV[13] == '1', policy)
  end
  if ARGV[8] ~= '' then
    redis.call('RPUSH', K.chain .. ARGV[8], ARGV[9])
    redis.call('SADD', K.chains, K.chain .. ARGV[8])
  end
end
local answer = close(id, state, ARGV, 4, fields, held)
table.insert(answer, 1, state)
table.insert(answer, 1, 1)
return answer
