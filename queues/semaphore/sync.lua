--[[
  Makes a host's reservations equal to what it really holds, and the host ready for work. What runs is entered even
  over capacity: it is a fact. Reservations that nobody has claimed yet stay: they are on their way to the host.

  The list was made a moment ago. A dispatch claimed since then is not in it and stays; one released since then is
  still in it and is not entered again. Of a dispatch whose row names the host, and of which nothing was found, only
  the host's next look can tell whether it is to begin: the claim that a dead process made for it stays, and is not
  entered if it is not there.

  KEYS[1]  prefix
  ARGV[1]  host
  ARGV[2]  generation
  ARGV[3]  time at which the making of the list began, ms
  ARGV[4]  JSON: [{jobId, epoch, owner, cpus, memory, disk, endsBy, found}], all of them strings;
           found 0: the host answers for it, and nothing of it is there

  Result   job ids that belong to a newer dispatch and were not entered
  -1 UNKNOWN_HOST  -2 FENCED
]]
-- @include codes
-- @include host
-- @include reservation
local name = ARGV[1]
local refusal = ownerRefusal(name, ARGV[2])
if refusal then return refusal end
local now = nowMs()
local listed, refused = {}, {}
for _, hold in ipairs(cjson.decode(ARGV[4])) do
  local held = redis.call('HMGET', reservationKey(hold.jobId), 'epoch', 'claimedAt', 'ticket')
  -- guard: claim-of-the-dead
  listed[hold.jobId] = hold.found == '1' or held[1] == hold.epoch
  -- guard: released-meanwhile
  local released = redis.call('GET', releasedKey(hold.jobId)) == hold.epoch
  if hold.found == '0' then
    -- as it was
  elseif held[1] and tonumber(held[1]) > tonumber(hold.epoch) then
    table.insert(refused, hold.jobId)
  elseif not released then
    drop(hold.jobId)
    enter(hold.jobId, hold.epoch, name, hold.owner, hold.cpus, hold.memory, hold.disk or '0', '1', now, hold.endsBy, held[3] or '')
    if held[2] and held[2] ~= '0' then
      redis.call('HSET', reservationKey(hold.jobId), 'claimedAt', held[2])
    end
  end
end
for _, jobId in ipairs(redis.call('SMEMBERS', hostJobsKey(name))) do
  local held = redis.call('HMGET', reservationKey(jobId), 'claimed', 'claimedAt')
  -- guard: claimed-meanwhile
  if not listed[jobId] and held[1] == '1' and tonumber(held[2]) < tonumber(ARGV[3]) then drop(jobId) end
end
-- A process of an older version that lets go of a reservation leaves its disk in the sum.
-- guard: disk-summed-anew
local disk = 0
for _, jobId in ipairs(redis.call('SMEMBERS', hostJobsKey(name))) do
  disk = disk + tonumber(redis.call('HGET', reservationKey(jobId), 'disk') or '0')
end
redis.call('HSET', hostKey(name), 'usedDisk', int(disk))
redis.call('HSET', hostKey(name), 'synchronised', '1', 'beatAt', int(now))
redis.call('PUBLISH', WAKE, '')
return refused
