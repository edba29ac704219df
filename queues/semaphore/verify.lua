--[[
  Looks whether Redis is the one that was last verified. A restarted one may have lost its last second, claims
  included: every host must say again what it holds before anything is concluded from reservations. It may also have
  done half of a script (see ../append-only-log.ts): the sums are counted anew from the reservations.

  KEYS[1]  prefix
  ARGV[1]  run id of the Redis process

  Result   1 same, or restarted and now on record; 0 the nonce is missing: data were lost
]]
-- @include keys
-- @include recount
if redis.call('HEXISTS', SERVER, 'nonce') == 0 then return 0 end
if redis.call('HGET', SERVER, 'run') == ARGV[1] then return 1 end
recount()
for _, name in ipairs(redis.call('SMEMBERS', HOSTS)) do
  -- guard: synchronised-after-restart
  redis.call('HSET', hostKey(name), 'synchronised', '0')
  redis.call('PUBLISH', hostChannel(name), '')
end
redis.call('HSET', SERVER, 'run', ARGV[1])
return 1
