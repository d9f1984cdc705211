-- Submit several calls in their order, none behind the first that is refused.
-- ARGV: of each call how many arguments it has, and those of _submit.lua.  Answers what `submit` does, of each.
local answers, at = {}, 1
while at <= #ARGV do
  local own, count = {}, tonumber(ARGV[at])
  for i = 1, count do own[i] = ARGV[at + i] end
  local answer = submit(own)
  answers[#answers + 1] = answer
  if answer[1] == 'differs' or answer[1] == 'over' then break end
  at = at + count + 1
  clock = now_us() + 1 -- each has a turn of its own
end
return answers
