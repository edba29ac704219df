--[[
  The host takes a dispatch over: from here on nobody may take it back. Again by a later process of the same host is
  no error: that one adopts.

  KEYS[1]  prefix
  ARGV[1]  job id
  ARGV[2]  epoch
  ARGV[3]  host
  ARGV[4]  generation

  Result   1 claimed now; 2 was claimed before
  -1 UNKNOWN_HOST  -2 FENCED
  -9 NOT_RESERVED: taken back, or held by another dispatch or host
]]
-- @include codes
-- @include host
local refusal = ownerRefusal(ARGV[3], ARGV[4])
if refusal then return refusal end
local key = reservationKey(ARGV[1])
local held = redis.call('HMGET', key, 'epoch', 'host', 'claimed')
-- guard: claim-of-this-dispatch
if held[1] ~= ARGV[2] or held[2] ~= ARGV[3] then return NOT_RESERVED end
-- Again counts as now: a synchronisation whose list is older does not know what this process is about to do with it.
redis.call('HSET', key, 'claimed', '1', 'claimedAt', int(nowMs()))
return held[3] == '1' and 2 or 1
