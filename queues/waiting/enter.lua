--[[
  Puts a job into the index, in the place that its key and position give it. Again is harmless; an entry with an older
  epoch never replaces a newer one.

  KEYS[1]  prefix
  ARGV[1]  job id
  ARGV[2]  entry, see includes/waiting.lua
  ARGV[3]  created at, ms
  ARGV[4]  time at which it has waited too long, ms, or ''

  Result   1 entered, 0 a newer entry is there
]]
-- @include waiting
local jobId = ARGV[1]
local entry = cjson.decode(ARGV[2])
local known = redis.call('GET', waitingKey(jobId))
-- guard: newest-epoch
if known and cjson.decode(known).epoch > entry.epoch then return 0 end
redis.call('ZADD', ALL, ARGV[3], jobId)
redis.call('ZADD', ownerKey(entry.owner), string.format('%.0f', entry.key), memberOf(entry.position, jobId))
tally(entry.owner)
if ARGV[4] ~= '' then redis.call('ZADD', DEADLINES, ARGV[4], jobId) end
-- Last: should only half of this be done, the job counts as missing and is entered again.
redis.call('SET', waitingKey(jobId), ARGV[2])
redis.call('PUBLISH', WAKE, '')
return 1
