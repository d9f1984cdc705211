-- Submit a call.  ARGV, and what it answers: as `submit` (_submit.lua).
-- Seldom: on_terms, send_gathered
return submit(ARGV)
