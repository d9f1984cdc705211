-- Note that a parent sends children out.  ARGV: parent, fan (PARENT:NUMBER), total, hash of what is asked for,
-- JSON {done, total, message} of a parent whose progress goes on as they end, or nothing
local fan, key = K.fan .. ARGV[2], K.record .. ARGV[1]
redis.call('HSET', fan, 'total', ARGV[3])
redis.call('PEXPIRE', fan, 30 * DAY)
redis.call('HSET', key, 'fan ' .. ARGV[2], ARGV[4])
local fans = redis.call('HGET', key, 'fans')
redis.call('HSET', key, 'fans', fans and fans .. '\n' .. ARGV[2] or ARGV[2])
if ARGV[5] ~= '' then
  local far = cjson.decode(ARGV[5])
  far.since, far.ended, far.said = now_ms(), 0, 0
  redis.call('HSET', key, 'far ' .. ARGV[2], cjson.encode(far))
end
return 1
