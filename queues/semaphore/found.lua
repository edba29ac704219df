--[[
  Declares that Redis holds everything again: dispatch may begin.

  KEYS[1]  prefix
  ARGV[1]  token of the restoration, written to the field `restoring` of `server` when it began; if it is missing now,
           Redis lost its data again meanwhile, or somebody else has begun a restoration
  ARGV[2]  run id of the Redis process

  Result   1 declared, 0 not
]]
-- @include keys
-- @include recount
-- guard: restoration-overtaken
if redis.call('HGET', SERVER, 'restoring') ~= ARGV[1] then return 0 end
recount()
redis.call('HDEL', SERVER, 'restoring')
redis.call('HSET', SERVER, 'nonce', ARGV[1], 'run', ARGV[2])
redis.call('PUBLISH', WAKE, '')
return 1
