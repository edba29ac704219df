--[[
  Enters a host that the database knows and Redis does not, without a lease: it shows as suspect, and its time to be
  given up begins now. Does nothing for a host that is entered.

  KEYS[1]  prefix
  ARGV[1]  host
  ARGV[2]  capacity, milli-cpus
  ARGV[3]  capacity, MiB
  ARGV[4]  1 it is being drained

  Result   1 entered, 0 was there
]]
-- @include host
local name = ARGV[1]
if redis.call('EXISTS', hostKey(name)) == 1 then return 0 end
redis.call('SADD', HOSTS, name)
redis.call('HSET', hostKey(name), 'cpus', ARGV[2], 'memory', ARGV[3], 'leaseMs', '-1', 'generation', '0',
  'beatAt', int(nowMs()), 'synchronised', '0', 'lost', '0', 'draining', ARGV[4],
  'usedCpus', '0', 'usedMemory', '0', 'usedDisk', '0', 'held', '0')
return 1
