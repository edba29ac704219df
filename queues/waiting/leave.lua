--[[
  Takes a job out of the index.

  KEYS[1]  prefix
  ARGV[1]  job id

  Result   1 taken out, 0 was not in it
]]
-- @include waiting
local jobId = ARGV[1]
redis.call('ZREM', DEADLINES, jobId)
redis.call('ZREM', ALL, jobId)
local known = redis.call('GET', waitingKey(jobId))
if not known then return 0 end
local entry = cjson.decode(known)
redis.call('ZREM', ownerKey(entry.owner), memberOf(entry.position, jobId))
local left = redis.call('ZCARD', ownerKey(entry.owner))
if left > 0 then
  redis.call('HSET', COUNTS, entry.owner, left)
else
  redis.call('HDEL', COUNTS, entry.owner)
  redis.call('ZREM', OWNERS, entry.owner)
end
redis.call('DEL', waitingKey(jobId))
return 1
