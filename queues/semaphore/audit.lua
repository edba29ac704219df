--[[
  Computes every sum anew from the reservations and compares it with the counters.

  KEYS[1]  prefix

  Result   sentences, one for each difference; none when all is well
]]
-- @include keys
local found, sums, owners = {}, {}, {}
for _, jobId in ipairs(redis.call('SMEMBERS', RESERVATIONS)) do
  local held = redis.call('HMGET', reservationKey(jobId), 'host', 'cpus', 'memory', 'owner', 'disk')
  if not held[1] then
    table.insert(found, jobId .. ' is listed and holds no reservation')
  else
    local sum = sums[held[1]] or { 0, 0, 0, 0 }
    sums[held[1]] = { sum[1] + tonumber(held[2]), sum[2] + tonumber(held[3]), sum[3] + 1,
      sum[4] + tonumber(held[5] or '0') }
    local own = owners[held[4]] or { 0, 0, 0 }
    owners[held[4]] = { own[1] + 1, own[2] + tonumber(held[2]), own[3] + tonumber(held[3]) }
    if redis.call('SISMEMBER', hostJobsKey(held[1]), jobId) == 0 then
      table.insert(found, jobId .. ' is missing among the jobs of ' .. held[1])
    end
    if redis.call('SISMEMBER', HOSTS, held[1]) == 0 then
      table.insert(found, jobId .. ' is reserved on ' .. held[1] .. ', which is no host')
    end
  end
end
for _, name in ipairs(redis.call('SMEMBERS', HOSTS)) do
  local counters = redis.call('HMGET', hostKey(name), 'usedCpus', 'usedMemory', 'held', 'usedDisk')
  local sum = sums[name] or { 0, 0, 0, 0 }
  for index, field in ipairs({ 'usedCpus', 'usedMemory', 'held', 'usedDisk' }) do
    if tonumber(counters[index] or '0') ~= sum[index] then
      table.insert(found, name .. ' counts ' .. field .. ' ' .. tostring(counters[index]) .. ', its reservations hold ' ..
        string.format('%.0f', sum[index]))
    end
  end
  if redis.call('SCARD', hostJobsKey(name)) ~= sum[3] then
    table.insert(found, name .. ' lists jobs without a reservation there')
  end
end
for index, key in ipairs({ HELD_JOBS, HELD_CPUS, HELD_MEMORY }) do
  local counters = redis.call('HGETALL', key)
  local counted = {}
  for at = 1, #counters, 2 do
    local owner, count = counters[at], tonumber(counters[at + 1])
    counted[owner] = true
    local sum = (owners[owner] or { 0, 0, 0 })[index]
    if count ~= sum then
      table.insert(found, key .. ' counts ' .. counters[at + 1] .. ' for ' .. owner .. ', whose reservations hold ' ..
        string.format('%.0f', sum))
    end
  end
  for owner in pairs(owners) do
    if not counted[owner] then table.insert(found, key .. ' counts nothing for ' .. owner) end
  end
end
return found
