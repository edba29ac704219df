--[[
  Gives back what a dispatch held: its container is gone. Harmless when nothing is held.

  KEYS[1]  prefix
  ARGV[1]  job id
  ARGV[2]  epoch
  ARGV[3]  seconds for which a synchronisation that began earlier may not enter the dispatch again

  Result   1 released, 0 this dispatch held nothing
]]
-- @include reservation
local jobId, epoch = ARGV[1], ARGV[2]
redis.call('SET', releasedKey(jobId), epoch, 'EX', ARGV[3])
if redis.call('HGET', reservationKey(jobId), 'epoch') ~= epoch then return 0 end
drop(jobId)
redis.call('PUBLISH', WAKE, '')
return 1
