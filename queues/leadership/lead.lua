--[[
  Takes or renews the lead.

  KEYS[1]  prefix
  ARGV[1]  name of the candidate's host
  ARGV[2]  token of the candidate
  ARGV[3]  time to live, ms
  ARGV[4]  1: take it from an earlier process of the same host

  Result   1 leads, 0 somebody else does
]]
-- @include keys
local key = PREFIX .. ':leader'
local mine = ARGV[1] .. '/' .. ARGV[2]
local leader = redis.call('GET', key)
local free = not leader or leader == mine
local predecessor = ARGV[4] == '1' and leader and string.sub(leader, 1, #ARGV[1] + 1) == ARGV[1] .. '/'
if not free and not predecessor then
  -- Redis keeps the time at which it ends: if the clock was set back meanwhile, a dead leader would lead on for hours.
  -- guard: lead-time
  if redis.call('PTTL', key) > tonumber(ARGV[3]) then redis.call('PEXPIRE', key, ARGV[3]) end
  return 0
end
redis.call('SET', key, mine, 'PX', ARGV[3])
return 1
