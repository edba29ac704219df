-- @include keys
-- @include time

-- Enters a reservation and adds it to its host's sums. Checks nothing.
local function enter(jobId, epoch, host, cpus, memory, claimed, now, endsBy, ticket)
  redis.call('HSET', reservationKey(jobId), 'epoch', epoch, 'host', host, 'cpus', cpus, 'memory', memory,
    'claimed', claimed, 'at', int(now), 'claimedAt', claimed == '1' and int(now) or '0', 'endsBy', endsBy,
    'ticket', ticket)
  redis.call('SADD', RESERVATIONS, jobId)
  redis.call('SADD', hostJobsKey(host), jobId)
  redis.call('HINCRBY', hostKey(host), 'usedCpus', cpus)
  redis.call('HINCRBY', hostKey(host), 'usedMemory', memory)
  redis.call('HINCRBY', hostKey(host), 'held', 1)
end

-- Takes a reservation and its share of the sums away, if there is one.
local function drop(jobId)
  local held = redis.call('HMGET', reservationKey(jobId), 'host', 'cpus', 'memory')
  local host = held[1]
  if not host then return false end
  redis.call('DEL', reservationKey(jobId))
  redis.call('SREM', RESERVATIONS, jobId)
  redis.call('SREM', hostJobsKey(host), jobId)
  redis.call('HINCRBY', hostKey(host), 'usedCpus', '-' .. held[2])
  redis.call('HINCRBY', hostKey(host), 'usedMemory', '-' .. held[3])
  redis.call('HINCRBY', hostKey(host), 'held', -1)
  return true
end
