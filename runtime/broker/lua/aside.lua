-- The function of a call that waits at a gate is gone: it waits for it at the function's own gate, in nobody's way.
-- ARGV: id, gate it waits at
local id, r = ARGV[1], look(ARGV[1])
if r.state ~= 'accepted' or r.gate ~= ARGV[2] then return 0 end
park(id, r, 'function:' .. r['function'], 'function')
return 1
