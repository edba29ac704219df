--[[
  Makes a process the owner of a host name. Its capacity counts at once; it gets work after it has synchronised.

  KEYS[1]  prefix
  ARGV[1]  host
  ARGV[2]  capacity, milli-cpus
  ARGV[3]  capacity, MiB
  ARGV[4]  lease, ms
  ARGV[5]  generation that this process holds already, or '' to take the name over
  ARGV[6]  1 it is being drained, where Redis does not know it: the database says so
  ARGV[7]  1 its process gets images that dispatch wishes for
  ARGV[8]  capacity, MiB of disk; '' no bound
  ARGV[9]  MiB of disk that a job without a wish gets at most; ''
  ARGV[10] file system of the disk

  Result   generation (> 0)
  -2       FENCED: a newer process has taken the name over
]]
-- @include codes
-- @include host
local name = ARGV[1]
local now = nowMs()
local stored = tonumber(redis.call('HGET', hostKey(name), 'generation') or '0')
local generation
if ARGV[5] ~= '' then
  generation = tonumber(ARGV[5])
  if stored > generation then return FENCED end
else
  -- By the clock, so that a generation grows even if Redis has forgotten the last one; by the last, so that it grows
  -- even if the clock was set back.
  generation = math.max(stored + 1, now)
end
redis.call('SADD', HOSTS, name)
redis.call('HSET', hostKey(name), 'cpus', ARGV[2], 'memory', ARGV[3], 'leaseMs', ARGV[4],
  'generation', int(generation), 'beatAt', int(now), 'synchronised', '0', 'lost', '0',
  'pulls', ARGV[7], 'disk', ARGV[8], 'diskMost', ARGV[9], 'diskPlace', ARGV[10])
-- The process that had the name lets go at its next heartbeat, which is now: two must not end the same jobs.
if ARGV[5] == '' then redis.call('PUBLISH', hostChannel(name), '') end
for _, counter in ipairs({ 'usedCpus', 'usedMemory', 'usedDisk', 'held' }) do
  redis.call('HSETNX', hostKey(name), counter, '0')
end
redis.call('HSETNX', hostKey(name), 'draining', ARGV[6])
return generation
