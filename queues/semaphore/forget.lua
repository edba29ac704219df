--[[
  Removes a host that will not come back, with all that is kept of it.

  KEYS[1]  prefix
  ARGV[1]  host

  Result   1 removed
  -1       UNKNOWN_HOST
  -13      LEASE_LIVE: its worker lives
]]
-- @include codes
-- @include host
-- @include reservation
local name = ARGV[1]
local host = redis.call('HMGET', hostKey(name), 'leaseMs', 'lost')
if not host[1] then return UNKNOWN_HOST end
if host[2] ~= '1' and beatAge(name, nowMs()) <= tonumber(host[1]) then return LEASE_LIVE end
for _, jobId in ipairs(redis.call('SMEMBERS', hostJobsKey(name))) do drop(jobId) end
redis.call('DEL', hostKey(name), hostJobsKey(name))
redis.call('DEL', hostImagesKey(name), hostStockKey(name), hostRemovalsKey(name), hostWishesKey(name), hostWishOwnersKey(name))
redis.call('SREM', HOSTS, name)
redis.call('PUBLISH', WAKE, '')
return 1
