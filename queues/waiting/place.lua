--[[
  A job's place in the queue.

  KEYS[1]  prefix
  ARGV[1]  job id

  Result   1 is next; 0 the index does not hold the job
]]
-- @include waiting
local priority = redis.call('HGET', waitingKey(ARGV[1]), 'priority')
if not priority then return 0 end
local ahead = redis.call('ZRANK', priorityKey(priority), ARGV[1])
if not ahead then return 0 end
for higher = 1, tonumber(priority) - 1 do ahead = ahead + redis.call('ZCARD', priorityKey(higher)) end
return ahead + 1
