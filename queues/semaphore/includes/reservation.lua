-- @include keys
-- @include time

-- Enters a reservation and adds it to the sums of its host and its owner. Checks nothing.
local function enter(jobId, epoch, host, owner, cpus, memory, claimed, now, endsBy, ticket)
  redis.call('HSET', reservationKey(jobId), 'epoch', epoch, 'host', host, 'owner', owner, 'cpus', cpus,
    'memory', memory, 'claimed', claimed, 'at', int(now), 'claimedAt', claimed == '1' and int(now) or '0', 'endsBy', endsBy,
    'ticket', ticket)
  redis.call('SADD', RESERVATIONS, jobId)
  redis.call('SADD', hostJobsKey(host), jobId)
  redis.call('HINCRBY', hostKey(host), 'usedCpus', cpus)
  redis.call('HINCRBY', hostKey(host), 'usedMemory', memory)
  redis.call('HINCRBY', hostKey(host), 'held', 1)
  redis.call('HINCRBY', HELD_JOBS, owner, 1)
  redis.call('HINCRBY', HELD_CPUS, owner, cpus)
  redis.call('HINCRBY', HELD_MEMORY, owner, memory)
end

-- Takes a reservation and its part of the sums away, if there is one.
local function drop(jobId)
  local held = redis.call('HMGET', reservationKey(jobId), 'host', 'cpus', 'memory', 'owner')
  local host, owner = held[1], held[4]
  if not host then return false end
  redis.call('DEL', reservationKey(jobId))
  redis.call('SREM', RESERVATIONS, jobId)
  redis.call('SREM', hostJobsKey(host), jobId)
  redis.call('HINCRBY', hostKey(host), 'usedCpus', '-' .. held[2])
  redis.call('HINCRBY', hostKey(host), 'usedMemory', '-' .. held[3])
  redis.call('HINCRBY', hostKey(host), 'held', -1)
  if redis.call('HINCRBY', HELD_JOBS, owner, -1) == 0 then
    redis.call('HDEL', HELD_JOBS, owner)
    redis.call('HDEL', HELD_CPUS, owner)
    redis.call('HDEL', HELD_MEMORY, owner)
  else
    redis.call('HINCRBY', HELD_CPUS, owner, '-' .. held[2])
    redis.call('HINCRBY', HELD_MEMORY, owner, '-' .. held[3])
  end
  return true
end
