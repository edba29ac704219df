--[[
  Hosts and reservations at one instant. Costs as much as there are hosts and reservations, not waiting jobs.

  KEYS[1]  prefix

  Result   {now, nonce or '', {host, field, value, …} of each host, {job id, field, value, …} of each reservation}
]]
-- @include host
local now = nowMs()
local hosts, reservations = {}, {}
for _, name in ipairs(redis.call('SMEMBERS', HOSTS)) do
  beatAge(name, now)
  local fields = redis.call('HGETALL', hostKey(name))
  table.insert(fields, 1, name)
  table.insert(hosts, fields)
end
for _, jobId in ipairs(redis.call('SMEMBERS', RESERVATIONS)) do
  local fields = redis.call('HGETALL', reservationKey(jobId))
  table.insert(fields, 1, jobId)
  table.insert(reservations, fields)
end
return { int(now), redis.call('HGET', SERVER, 'nonce') or '', hosts, reservations }
