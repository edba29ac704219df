--[[
  Renews a host's lease.

  KEYS[1]  prefix
  ARGV[1]  host
  ARGV[2]  generation

  Result   1 goes on; 2 the host must synchronise before it gets work
  -1       UNKNOWN_HOST: Redis has forgotten the host or it was given up: register again
  -2       FENCED
]]
-- @include codes
-- @include host
local name = ARGV[1]
local refusal = ownerRefusal(name, ARGV[2])
if refusal then return refusal end
redis.call('HSET', hostKey(name), 'beatAt', int(nowMs()))
return redis.call('HGET', hostKey(name), 'synchronised') == '1' and 1 or 2
