--[[
  Says more exactly when a dispatch will have ended at the latest (its command has begun, so its timeout runs).

  KEYS[1]  prefix
  ARGV[1]  job id
  ARGV[2]  epoch
  ARGV[3]  latest end, ms since the Unix epoch

  Result   1 noted, 0 this dispatch holds no reservation
]]
-- @include keys
if redis.call('HGET', reservationKey(ARGV[1]), 'epoch') ~= ARGV[2] then return 0 end
redis.call('HSET', reservationKey(ARGV[1]), 'endsBy', ARGV[3])
return 1
