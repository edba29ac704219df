-- @include keys
-- @include reservation

-- Computes anew all that follows from the reservations, and takes out what is there by half. What stays is written
-- again: the append-only log may do the half of a script before it (../append-only-log.ts), and says it whole then.
local function recount()
  redis.call('DEL', HELD_JOBS, HELD_CPUS, HELD_MEMORY)
  local known = {}
  for _, name in ipairs(redis.call('SMEMBERS', HOSTS)) do
    redis.call('DEL', hostJobsKey(name))
    if redis.call('HEXISTS', hostKey(name), 'generation') == 1 then
      known[name] = true
      redis.call('HSET', hostKey(name), 'usedCpus', '0', 'usedMemory', '0', 'usedDisk', '0', 'held', '0')
    else
      redis.call('DEL', hostKey(name))
      redis.call('SREM', HOSTS, name)
    end
  end
  local jobs = redis.call('SMEMBERS', RESERVATIONS)
  redis.call('DEL', RESERVATIONS)
  for _, jobId in ipairs(jobs) do
    local held = redis.call('HMGET', reservationKey(jobId), 'host', 'owner', 'cpus', 'memory', 'disk')
    if held[1] and known[held[1]] then
      redis.call('HSET', reservationKey(jobId), unpack(redis.call('HGETALL', reservationKey(jobId))))
      redis.call('SADD', RESERVATIONS, jobId)
      -- guard: recount
      count(jobId, held[1], held[2], held[3], held[4], held[5] or '0')
    else
      redis.call('DEL', reservationKey(jobId))
    end
  end
end
