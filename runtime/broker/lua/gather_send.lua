-- Send what waits to be gathered, if it is time.
-- ARGV: list, function, queue, priority, carrier with its limits (JSON), its message, the queue's list
return send_gathered(ARGV[1], ARGV[2], ARGV[3], ARGV[4], cjson.decode(ARGV[5]), ARGV[6], ARGV[7])
