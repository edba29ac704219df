--[[
  Takes a job out of the index.

  KEYS[1]  prefix
  ARGV[1]  job id

  Result   1 taken out, 0 was not in it
]]
-- @include waiting
local jobId = ARGV[1]
local entry = redis.call('HMGET', waitingKey(jobId), 'priority', 'owner')
redis.call('ZREM', DEADLINES, jobId)
if not entry[1] then return 0 end
local priority, owner = entry[1], entry[2]
redis.call('DEL', waitingKey(jobId))
redis.call('ZREM', priorityKey(priority), jobId)
redis.call('ZREM', laneKey(priority, owner), jobId)
if redis.call('EXISTS', laneKey(priority, owner)) == 0 then redis.call('SREM', ownersKey(priority), owner) end
return 1
