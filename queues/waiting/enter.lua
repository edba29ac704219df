--[[
  Puts a job into the index, in the place that its position gives it. Again is harmless; an entry with an older epoch
  never replaces a newer one.

  KEYS[1]  prefix
  ARGV[1]  job id
  ARGV[2]  owner
  ARGV[3]  priority, 1 highest … 10 lowest
  ARGV[4]  position
  ARGV[5]  milli-cpus
  ARGV[6]  MiB
  ARGV[7]  longest time that it may hold them, ms
  ARGV[8]  epoch of its last dispatch
  ARGV[9]  created at, ms
  ARGV[10] time at which it has waited too long, ms, or ''

  Result   1 entered, 0 a newer entry is there
]]
-- @include waiting
local jobId, owner, priority, position = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local known = redis.call('HGET', waitingKey(jobId), 'epoch')
if known and tonumber(known) > tonumber(ARGV[8]) then return 0 end
redis.call('HSET', waitingKey(jobId), 'owner', owner, 'priority', priority, 'position', position, 'cpus', ARGV[5],
  'memory', ARGV[6], 'runMs', ARGV[7], 'epoch', ARGV[8], 'createdAt', ARGV[9])
redis.call('ZADD', priorityKey(priority), position, jobId)
redis.call('ZADD', laneKey(priority, owner), position, jobId)
redis.call('SADD', ownersKey(priority), owner)
if ARGV[10] ~= '' then redis.call('ZADD', DEADLINES, ARGV[10], jobId) end
redis.call('PUBLISH', WAKE, '')
return 1
