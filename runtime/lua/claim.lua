-- Begin an attempt (_claim.lua).
-- ARGV: id, worker, lease (ms), four limits (see close), policy of the function (JSON, '' for none),
--       version of the worker's code
-- Answers as `claim` does.
local policy = ARGV[8] ~= '' and cjson.decode(ARGV[8]) or {}
return claim(ARGV[1], ARGV[2], ARGV[3], policy, ARGV[9], ARGV, 4)
