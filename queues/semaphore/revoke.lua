--[[
  Takes a dispatch back that no host has claimed.

  KEYS[1]  prefix
  ARGV[1]  job id
  ARGV[2]  epoch
  ARGV[3]  ticket of the reservation that is meant, or '' for whichever there is

  Result   1 revoked, 0 there is no such reservation
  -10      ALREADY_CLAIMED
]]
-- @include codes
-- @include reservation
local held = redis.call('HMGET', reservationKey(ARGV[1]), 'epoch', 'ticket', 'claimed')
if held[1] ~= ARGV[2] then return 0 end
-- guard: ticket
if ARGV[3] ~= '' and held[2] ~= ARGV[3] then return 0 end
-- guard: claimed-stays
if held[3] == '1' then return ALREADY_CLAIMED end
drop(ARGV[1])
return 1
