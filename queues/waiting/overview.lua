--[[
  Length of the queue and how old its oldest job is.

  KEYS[1]  prefix

  Result   {length, time at which the oldest was created in ms or ''}
]]
-- @include waiting
local oldest = redis.call('ZRANGE', ALL, 0, 0, 'WITHSCORES')
return { redis.call('ZCARD', ALL), oldest[2] or '' }
