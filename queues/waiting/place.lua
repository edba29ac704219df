--[[
  Places of jobs in the queue, as fair share will bring them forward if all waiting jobs are of the asked one's size and
  nothing ends: an owner's n-th job has its turn when its owner holds what it holds now and n - 1 such jobs more, and
  turns go by what is held, divided by weight. Costs as much as there are owners with waiting jobs, times the logarithm
  of their queues.

  KEYS[1]  prefix
  ARGV     job ids

  Result   place of each: 1 is next, 0 the index does not hold the job
]]
-- @include waiting
local function pairsOf(key)
  local flat, map = redis.call('HGETALL', key), {}
  for index = 1, #flat, 2 do map[flat[index]] = tonumber(flat[index + 1]) end
  return map
end
local farmCpus, farmMemory = 0, 0
for _, name in ipairs(redis.call('SMEMBERS', HOSTS)) do
  local host = redis.call('HMGET', hostKey(name), 'cpus', 'memory', 'lost')
  if host[1] and host[3] ~= '1' then
    farmCpus, farmMemory = farmCpus + tonumber(host[1]), farmMemory + tonumber(host[2])
  end
end
local counts, weights = pairsOf(COUNTS), pairsOf(WEIGHTS)
local heldCpus, heldMemory = pairsOf(HELD_CPUS), pairsOf(HELD_MEMORY)
local known = farmCpus > 0 and farmMemory > 0
local function share(cpus, memory) return math.max(cpus / farmCpus, memory / farmMemory) end
local function heldBy(owner)
  return known and share(heldCpus[owner] or 0, heldMemory[owner] or 0) or 0
end

local ALMOST_NOTHING = 1e-9
local function placeOf(jobId)
  local found = redis.call('GET', waitingKey(jobId))
  if not found then return 0 end
  local entry = cjson.decode(found)
  local member = memberOf(entry.position, jobId)
  local rank = redis.call('ZRANK', ownerKey(entry.owner), member)
  if not rank then return 0 end
  local size = known and share(entry.cpusMilli, entry.memoryMib) or 1
  local turn = (heldBy(entry.owner) + rank * size) / (weights[entry.owner] or 1)
  local ahead = rank
  for owner, count in pairs(counts) do
    if owner ~= entry.owner then
      -- Its jobs 0 … before - 1 have their turns earlier.
      local before = (turn * (weights[owner] or 1) - heldBy(owner)) / size
      local equal = math.floor(before + 0.5)
      if math.abs(before - equal) > ALMOST_NOTHING then
        ahead = ahead + math.max(0, math.min(count, math.ceil(before)))
      else
        ahead = ahead + math.max(0, math.min(count, equal))
        local other = equal >= 0 and equal < count and redis.call('ZRANGE', ownerKey(owner), equal, equal, 'WITHSCORES')
        if other and other[1] then
          local key = tonumber(other[2])
          if key < entry.key or (key == entry.key and other[1] < member) then ahead = ahead + 1 end
        end
      end
    end
  end
  return ahead + 1
end

local places = {}
for index, jobId in ipairs(ARGV) do places[index] = placeOf(jobId) end
return places
