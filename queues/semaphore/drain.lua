--[[
  Says whether a host may get new work.

  KEYS[1]  prefix
  ARGV[1]  host
  ARGV[2]  1 drain, 0 undrain

  Result   1
  -1       UNKNOWN_HOST
]]
-- @include codes
-- @include keys
if redis.call('EXISTS', hostKey(ARGV[1])) == 0 then return UNKNOWN_HOST end
if redis.call('HGET', hostKey(ARGV[1]), 'draining') == ARGV[2] then return 1 end
redis.call('HSET', hostKey(ARGV[1]), 'draining', ARGV[2])
redis.call('PUBLISH', WAKE, '')
return 1
