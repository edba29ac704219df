--[[
  The first few jobs of every owner. Costs as much as there are owners, however long their queues are. When there are
  more owners than one look takes, the next look goes on behind them.

  KEYS[1]  prefix
  ARGV[1]  most jobs to look at, shared among the owners; at least one of each
  ARGV[2]  most jobs of one owner
  ARGV[3]  most owners
  ARGV[4]  name of the owner after which to begin, or ''
  ARGV[5]  JSON: {owner: number of its first jobs to leave out}

  Result   {name of the last owner or '' when all were looked at, most jobs taken of each, job id, entry, …}
]]
-- @include waiting
local known, most = redis.call('ZCARD', OWNERS), tonumber(ARGV[3])
if known == 0 then return { '', '0' } end
local owners, last
if known <= most then
  owners, last = redis.call('ZRANGE', OWNERS, 0, -1), ''
else
  owners = redis.call('ZRANGEBYLEX', OWNERS, '(' .. ARGV[4], '+', 'LIMIT', 0, most)
  if #owners < most then
    for _, owner in ipairs(redis.call('ZRANGE', OWNERS, 0, most - #owners - 1)) do table.insert(owners, owner) end
  end
  last = owners[#owners]
end
local skipped = cjson.decode(ARGV[5])
local each = math.max(1, math.min(tonumber(ARGV[2]), math.floor(tonumber(ARGV[1]) / #owners)))
local result = { last, tostring(each) }
for _, owner in ipairs(owners) do
  local first = skipped[owner] or 0
  local jobs, keys = {}, {}
  local members = redis.call('ZRANGE', ownerKey(owner), first, first + each - 1)
  for _, member in ipairs(members) do
    local jobId = jobOf(member)
    table.insert(jobs, jobId)
    table.insert(keys, waitingKey(jobId))
  end
  if #keys > 0 then
    for index, entry in ipairs(redis.call('MGET', unpack(keys))) do
      if entry then
        table.insert(result, jobs[index])
        table.insert(result, entry)
      else
        -- Entered, or taken out, by half. If it waits, reconciliation enters it again.
        redis.call('ZREM', ownerKey(owner), members[index])
        redis.call('ZREM', ALL, jobs[index])
        redis.call('ZREM', DEADLINES, jobs[index])
        tally(owner)
      end
    end
  end
end
return result
