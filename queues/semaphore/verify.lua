--[[
  Looks whether Redis is the one that was last verified. A restarted one may have lost its last second, claims
  included: every host must say again what it holds before anything is concluded from reservations. It may also have
  done half of a script (see ../append-only-log.ts): the sums are counted anew from the reservations.

  KEYS[1]  prefix
  ARGV[1]  run id of the Redis process

  Result   1 same; 2 restarted, and now on record; 0 the nonce is missing: data were lost
]]
-- @include keys
-- @include reservation
if redis.call('HEXISTS', SERVER, 'nonce') == 0 then return 0 end
if redis.call('HGET', SERVER, 'run') == ARGV[1] then return 1 end
redis.call('DEL', HELD_JOBS, HELD_CPUS, HELD_MEMORY)
for _, name in ipairs(redis.call('SMEMBERS', HOSTS)) do
  redis.call('DEL', hostJobsKey(name))
  redis.call('HSET', hostKey(name), 'usedCpus', '0', 'usedMemory', '0', 'held', '0', 'synchronised', '0')
  redis.call('PUBLISH', hostChannel(name), '')
end
for _, jobId in ipairs(redis.call('SMEMBERS', RESERVATIONS)) do
  local held = redis.call('HMGET', reservationKey(jobId), 'host', 'owner', 'cpus', 'memory')
  if held[1] and redis.call('SISMEMBER', HOSTS, held[1]) == 1 then
    count(jobId, held[1], held[2], held[3], held[4])
  else
    redis.call('DEL', reservationKey(jobId))
    redis.call('SREM', RESERVATIONS, jobId)
  end
end
redis.call('HSET', SERVER, 'run', ARGV[1])
return 2
