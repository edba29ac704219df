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
local held = redis.call('HMGET', reservationKey(jobId), 'host', 'disk')
drop(jobId)
-- What it has written stays for a while, and is nobody's: none of it is promised before its host has measured anew.
-- guard: written-stays
local disk = held[1] and tonumber(redis.call('HGET', hostKey(held[1]), 'disk') or '')
if disk then
  redis.call('HSET', hostKey(held[1]), 'disk', int(math.max(0, disk - tonumber(held[2] or '0'))))
end
redis.call('PUBLISH', WAKE, '')
return 1
