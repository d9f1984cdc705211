-- Begin an attempt (_claim.lua).
-- ARGV: id, worker, lease (ms), four limits (see close), policy of the function (JSON, '' for none),
--       version of the worker's code
-- Answers {verdict, fields…} as `claim` does.
local policy = ARGV[8] ~= '' and cjson.decode(ARGV[8]) or {}
local verdict, record = claim(ARGV[1], ARGV[2], ARGV[3], policy, ARGV[9], ARGV, 4)
local answer = record or {}
table.insert(answer, 1, verdict)
return answer
