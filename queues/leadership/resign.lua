--[[
  Gives the lead up, so that the next one need not wait for its end.

  KEYS[1]  prefix
  ARGV[1]  name of the leader's host
  ARGV[2]  token of the leader

  Result   1 given up, 0 did not lead
]]
-- @include keys
local key = PREFIX .. ':leader'
if redis.call('GET', key) ~= ARGV[1] .. '/' .. ARGV[2] then return 0 end
redis.call('DEL', key)
redis.call('PUBLISH', WAKE, 'vacancy')
return 1
