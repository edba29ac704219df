--[[
  Length of the queue and how old its oldest job is.

  KEYS[1]  prefix

  Result   {length, time at which the oldest was created in ms or ''}
]]
-- @include waiting
local length, oldest = 0, ''
for priority = 1, LOWEST_PRIORITY do
  length = length + redis.call('ZCARD', priorityKey(priority))
  local head = redis.call('ZRANGE', priorityKey(priority), 0, 0)[1]
  local createdAt = head and redis.call('HGET', waitingKey(head), 'createdAt')
  if createdAt and (oldest == '' or tonumber(createdAt) < tonumber(oldest)) then oldest = createdAt end
end
return { length, oldest }
