--[[
  Gives back cpus and memory of a dispatch whose container is gone. Its disk stays promised to it until `release`: what
  the job left is still there, and its artifacts are being copied beside it. Harmless when nothing is held.

  KEYS[1]  prefix
  ARGV[1]  job id
  ARGV[2]  epoch
  ARGV[3]  seconds for which a synchronisation that began earlier may not enter the dispatch again

  Result   1 given back, 0 this dispatch held nothing
]]
-- @include reservation
local jobId, epoch = ARGV[1], ARGV[2]
redis.call('SET', releasedKey(jobId), epoch, 'EX', ARGV[3])
local key = reservationKey(jobId)
local held = redis.call('HMGET', key, 'epoch', 'host', 'owner', 'cpus', 'memory')
if held[1] ~= epoch then return 0 end
reduce(hostKey(held[2]), 'usedCpus', held[4])
reduce(hostKey(held[2]), 'usedMemory', held[5])
reduce(HELD_CPUS, held[3], held[4])
reduce(HELD_MEMORY, held[3], held[5])
redis.call('HSET', key, 'cpus', '0', 'memory', '0', 'endsBy', '')
redis.call('PUBLISH', WAKE, '')
return 1
