--[[
  Ends a host's lease at once: its worker stops. What it holds stays reserved, and heartbeats that are on their way do
  not bring the lease back; the next registration does.

  KEYS[1]  prefix
  ARGV[1]  host
  ARGV[2]  generation

  Result   1
  -1 UNKNOWN_HOST  -2 FENCED
]]
-- @include codes
-- @include host
local refusal = ownerRefusal(ARGV[1], ARGV[2])
if refusal then return refusal end
redis.call('HSET', hostKey(ARGV[1]), 'leaseMs', '-1')
redis.call('PUBLISH', WAKE, '')
return 1
