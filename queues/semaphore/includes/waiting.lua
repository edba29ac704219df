-- Names of the index of waiting jobs. A member is a job's position in ten digits and its id, so that jobs of equal
-- key stand in the order of their positions.
--
-- waiting:entry:<job>    string  JSON: {owner, image, priority, key, position, since, cpusMilli, memoryMib, runMs, epoch}
-- waiting:all            zset    job ids by the time at which they were created
-- waiting:owner:<owner>  zset    members by key
-- waiting:owners         zset    owners with jobs, by name
-- waiting:counts         hash    owner: number of its jobs
-- waiting:deadlines      zset    job ids by the time at which they have waited too long
-- weights                hash    owner: weight, where it is not 1
-- @include keys
local ALL = PREFIX .. ':waiting:all'
local OWNERS = PREFIX .. ':waiting:owners'
local COUNTS = PREFIX .. ':waiting:counts'
local DEADLINES = PREFIX .. ':waiting:deadlines'
local WEIGHTS = PREFIX .. ':weights'
local POSITION_DIGITS = 10
local function ownerKey(owner) return PREFIX .. ':waiting:owner:' .. owner end
local function memberOf(position, jobId) return string.format('%0' .. POSITION_DIGITS .. '.0f', position) .. jobId end
local function jobOf(member) return string.sub(member, POSITION_DIGITS + 1) end

-- Counts the jobs of an owner.
local function tally(owner)
  local number = redis.call('ZCARD', ownerKey(owner))
  if number > 0 then
    redis.call('HSET', COUNTS, owner, number)
    redis.call('ZADD', OWNERS, 0, owner)
  else
    redis.call('HDEL', COUNTS, owner)
    redis.call('ZREM', OWNERS, owner)
  end
end
