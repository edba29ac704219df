--[[
  Takes one request out of a token bucket, if it holds one.

  The bucket is kept as the one moment at which it will be full again ("generic cell rate algorithm"): each request
  moves it by the time that one token takes to flow in. A bucket that is full has no key.

  KEYS[1]  string of the bucket
  ARGV[1]  tokens that flow in per second
  ARGV[2]  depth, tokens
  ARGV[3]  1: take, 0: look only

  Result   {1 allowed or 0, whole tokens left, µs until one token is there, µs until it is full}
]]
-- @include micros
-- What was rounded away in the key, µs: nothing is refused or mended for so little.
local NOTHING = 0.5
local per, depth = 1000000 / tonumber(ARGV[1]), tonumber(ARGV[2])
local now = nowUs()
local kept = tonumber(redis.call('GET', KEYS[1]) or now)
-- Further off than an empty bucket is: Redis's clock was set back. It is empty then, and fills from now on.
local setBack = kept > now + per * depth + NOTHING
local full = math.min(math.max(kept, now), now + per * depth)
local missing = full + per - (now + per * depth)
local allowed = missing < NOTHING
local take = allowed and ARGV[3] == '1'
if take then full = full + per end
if take or setBack then
  redis.call('SET', KEYS[1], string.format('%.2f', full), 'PX', math.max(1, math.ceil((full - now) / 1000)))
end
local left = math.floor((now + per * depth - full + NOTHING) / per)
return { allowed and 1 or 0, math.max(0, left), math.ceil(allowed and 0 or missing), math.ceil(full - now) }
