--[[
  Says how much of a host's disk jobs may reserve now: what is free, less the rest that nobody touches, and what those
  have written of their promise that have a reservation.

  KEYS[1]  prefix
  ARGV[1]  host
  ARGV[2]  generation
  ARGV[3]  MiB that are free, less the rest; may be negative
  ARGV[4]  JSON: [{jobId, epoch, mib}], all of them strings: what dispatches have written

  Result   1
  -1 UNKNOWN_HOST  -2 FENCED
]]
-- @include codes
-- @include host
local name = ARGV[1]
local refusal = ownerRefusal(name, ARGV[2])
if refusal then return refusal end
local room = tonumber(ARGV[3])
local written = {}
for _, held in ipairs(cjson.decode(ARGV[4])) do
  local reservation = redis.call('HMGET', reservationKey(held.jobId), 'host', 'epoch')
  -- guard: held-by-nobody
  if reservation[1] == name and reservation[2] == held.epoch then
    written[held.jobId] = (written[held.jobId] or 0) + tonumber(held.mib)
  end
end
for jobId, mib in pairs(written) do
  -- What a job wrote beyond its promise (its log, say) is nobody's to promise.
  -- guard: within-the-promise
  room = room + math.min(mib, tonumber(redis.call('HGET', reservationKey(jobId), 'disk') or '0'))
end
room = math.max(0, room)
local before = tonumber(redis.call('HGET', hostKey(name), 'disk') or '')
redis.call('HSET', hostKey(name), 'disk', int(room))
-- Somebody may have waited for it.
if before and before < room then redis.call('PUBLISH', WAKE, '') end
return 1
