-- Submit a call.  ARGV, and what it answers: as `submit` (_submit.lua).
return submit(ARGV)
