--[[
  Gives a host up that has been silent for too long: its reservations go. It must register again.

  KEYS[1]  prefix
  ARGV[1]  host
  ARGV[2]  how long it must have been silent, ms

  Result   1 given up, now or before; 0 it has been heard of
  -1       UNKNOWN_HOST
]]
-- @include codes
-- @include host
-- @include reservation
local name = ARGV[1]
if redis.call('EXISTS', hostKey(name)) == 0 then return UNKNOWN_HOST end
if redis.call('HGET', hostKey(name), 'lost') == '1' then return 1 end
if beatAge(name, nowMs()) <= tonumber(ARGV[2]) then return 0 end
for _, jobId in ipairs(redis.call('SMEMBERS', hostJobsKey(name))) do drop(jobId) end
-- Last: should only half of this be done, a host that lives is not given up by it.
redis.call('HSET', hostKey(name), 'lost', '1', 'synchronised', '0')
return 1
