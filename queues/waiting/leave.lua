--[[
  Takes a job out of the index.

  KEYS[1]  prefix
  ARGV[1]  job id

  Result   1 taken out, 0 was not in it
]]
-- @include waiting
local jobId = ARGV[1]
-- First: should only half of this be done, the job counts as missing and, if it waits, is entered again.
redis.call('ZREM', ALL, jobId)
redis.call('ZREM', DEADLINES, jobId)
local known = redis.call('GET', waitingKey(jobId))
if not known then return 0 end
local entry = cjson.decode(known)
redis.call('ZREM', ownerKey(entry.owner), memberOf(entry.position, jobId))
tally(entry.owner)
redis.call('DEL', waitingKey(jobId))
return 1
