-- @include keys
-- @include time

-- Milliseconds since the host's last heartbeat. A heartbeat from the future (the clock was set back) counts from
-- now on, or a dead host would seem alive until the clock has caught up.
local function beatAge(name, now)
  local beatAt = tonumber(redis.call('HGET', hostKey(name), 'beatAt') or '0')
  if beatAt > now then
    redis.call('HSET', hostKey(name), 'beatAt', int(now))
    return 0
  end
  return now - beatAt
end

-- The generation fence: a process that is not the newest of its name may change nothing.
local function ownerRefusal(name, generation)
  local owner = redis.call('HGET', hostKey(name), 'generation')
  if not owner or redis.call('HGET', hostKey(name), 'lost') == '1' then return UNKNOWN_HOST end
  -- guard: host-generation
  if tonumber(owner) > tonumber(generation) then return FENCED end
  -- Older than the process that asks: Redis has lost the newer one's registration.
  if tonumber(owner) < tonumber(generation) then return UNKNOWN_HOST end
  return nil
end
