--[[
  The first few jobs of every lane, highest priority first. Costs as much as there are lanes, however long they are.

  KEYS[1]  prefix
  ARGV[1]  most jobs to look at, shared among the lanes; at least one of each
  ARGV[2]  most jobs of one lane

  Result   {job id, owner, priority, position, cpus, memory, runMs, epoch} of each
]]
-- @include waiting
local lanes = 0
for priority = 1, LOWEST_PRIORITY do lanes = lanes + redis.call('SCARD', ownersKey(priority)) end
if lanes == 0 then return {} end
local each = math.max(1, math.min(tonumber(ARGV[2]), math.floor(tonumber(ARGV[1]) / lanes)))
local candidates = {}
for priority = 1, LOWEST_PRIORITY do
  for _, owner in ipairs(redis.call('SMEMBERS', ownersKey(priority))) do
    for _, jobId in ipairs(redis.call('ZRANGE', laneKey(priority, owner), 0, each - 1)) do
      local entry = redis.call('HMGET', waitingKey(jobId), 'owner', 'priority', 'position', 'cpus', 'memory', 'runMs',
        'epoch')
      if entry[1] then
        table.insert(entry, 1, jobId)
        table.insert(candidates, entry)
      end
    end
  end
end
return candidates
