-- @include keys
-- @include time

-- Adds a reservation to the sums of its host and its owner.
local function count(jobId, host, owner, cpus, memory, disk)
  redis.call('SADD', hostJobsKey(host), jobId)
  redis.call('HINCRBY', hostKey(host), 'usedCpus', cpus)
  redis.call('HINCRBY', hostKey(host), 'usedMemory', memory)
  redis.call('HINCRBY', hostKey(host), 'usedDisk', disk)
  redis.call('HINCRBY', hostKey(host), 'held', 1)
  redis.call('HINCRBY', HELD_JOBS, owner, 1)
  redis.call('HINCRBY', HELD_CPUS, owner, cpus)
  redis.call('HINCRBY', HELD_MEMORY, owner, memory)
end

-- Enters a reservation and adds it to the sums. Checks nothing. The list comes first, and last in `drop`: where only half
-- of either is done (verify.lua), there may be one that is listed and not there, and never one that nobody finds.
local function enter(jobId, epoch, host, owner, cpus, memory, disk, claimed, now, endsBy, ticket)
  redis.call('SADD', RESERVATIONS, jobId)
  redis.call('HSET', reservationKey(jobId), 'epoch', epoch, 'host', host, 'owner', owner, 'cpus', cpus,
    'memory', memory, 'disk', disk, 'claimed', claimed, 'at', int(now), 'claimedAt', claimed == '1' and int(now) or '0', 'endsBy', endsBy,
    'ticket', ticket)
  count(jobId, host, owner, cpus, memory, disk)
end

-- Takes a part off a sum. Redis takes no `-0`, and of a reservation that is older than the field there is nothing to take.
local function reduce(key, field, part)
  if part and part ~= '0' then redis.call('HINCRBY', key, field, '-' .. part) end
end

-- Takes a reservation and its part of the sums away, if there is one.
local function drop(jobId)
  local held = redis.call('HMGET', reservationKey(jobId), 'host', 'cpus', 'memory', 'owner', 'disk')
  local host, owner = held[1], held[4]
  if not host then return false end
  redis.call('DEL', reservationKey(jobId))
  redis.call('SREM', hostJobsKey(host), jobId)
  reduce(hostKey(host), 'usedCpus', held[2])
  reduce(hostKey(host), 'usedMemory', held[3])
  reduce(hostKey(host), 'usedDisk', held[5])
  redis.call('HINCRBY', hostKey(host), 'held', -1)
  if redis.call('HINCRBY', HELD_JOBS, owner, -1) == 0 then
    redis.call('HDEL', HELD_JOBS, owner)
    redis.call('HDEL', HELD_CPUS, owner)
    redis.call('HDEL', HELD_MEMORY, owner)
  else
    reduce(HELD_CPUS, owner, held[2])
    reduce(HELD_MEMORY, owner, held[3])
  end
  redis.call('SREM', RESERVATIONS, jobId)
  return true
end
