--[[
  Reserves cpus, memory and disk of a host for one dispatch of a waiting job. The only way into the sums that looks at
  capacity, and at the limits of the job's owner, first.

  KEYS[1]  prefix
  ARGV[1]  job id
  ARGV[2]  epoch of the dispatch
  ARGV[3]  host
  ARGV[4]  milli-cpus
  ARGV[5]  MiB
  ARGV[6]  latest end, ms since the Unix epoch, or '' when unknown
  ARGV[7]  ticket: tells this reservation from a later one of the same epoch
  ARGV[8]  owner
  ARGV[9]  most jobs, ARGV[10] most milli-cpus, ARGV[11] most MiB that the owner may hold; '' for no limit
  ARGV[12] MiB of disk
  ARGV[13] 1: the job was never in the queue

  Result   1
  -11 DATA_LOST  -1 UNKNOWN_HOST  -3 LEASE_ENDED  -4 DRAINING  -5 NOT_SYNCHRONISED
  -6 NOT_WAITING: the job has left the queue  -7 ALREADY_RESERVED  -8 NO_ROOM
  -12 OVER_LIMIT: of the owner
]]
-- @include codes
-- @include host
-- @include reservation
local jobId, epoch, name, cpus, memory, disk = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[12]
-- guard: data-lost
if redis.call('HEXISTS', SERVER, 'nonce') == 0 then return DATA_LOST end
local host = redis.call('HMGET', hostKey(name), 'cpus', 'memory', 'usedCpus', 'usedMemory', 'leaseMs', 'synchronised',
  'draining', 'lost', 'disk', 'diskPlace')
if not host[1] or host[8] == '1' then return UNKNOWN_HOST end
local now = nowMs()
-- guard: lease
if beatAge(name, now) > tonumber(host[5]) then return LEASE_ENDED end
if host[7] == '1' then return DRAINING end
-- guard: synchronised-before-dispatch
if host[6] ~= '1' then return NOT_SYNCHRONISED end
-- guard: still-waiting
if ARGV[13] ~= '1' and redis.call('EXISTS', waitingKey(jobId)) == 0 then return NOT_WAITING end
-- guard: one-reservation
if redis.call('EXISTS', reservationKey(jobId)) == 1 then return ALREADY_RESERVED end
-- guard: fits-capacity
if tonumber(host[3]) + tonumber(cpus) > tonumber(host[1]) then return NO_ROOM end
if tonumber(host[4]) + tonumber(memory) > tonumber(host[2]) then return NO_ROOM end
if host[9] and host[9] ~= '' then
  local promised = tonumber(disk)
  for _, other in ipairs(redis.call('SMEMBERS', HOSTS)) do
    local its = redis.call('HMGET', hostKey(other), 'usedDisk', 'diskPlace', 'lost')
    -- guard: shared-disk
    if other == name or (its[2] == host[10] and its[3] ~= '1') then promised = promised + tonumber(its[1] or '0') end
  end
  -- guard: fits-disk
  if promised > tonumber(host[9]) then return NO_ROOM end
end
local owner = ARGV[8]
local function exceeds(key, amount, limit)
  return limit ~= '' and tonumber(redis.call('HGET', key, owner) or '0') + tonumber(amount) > tonumber(limit)
end
if exceeds(HELD_JOBS, 1, ARGV[9]) or exceeds(HELD_CPUS, cpus, ARGV[10]) or exceeds(HELD_MEMORY, memory, ARGV[11]) then
  return OVER_LIMIT
end
enter(jobId, epoch, name, owner, cpus, memory, disk, '0', now, ARGV[6], ARGV[7])
return 1
