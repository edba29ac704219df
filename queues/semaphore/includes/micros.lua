-- Microseconds since the beginning of 2025. Counted from 1970 a Lua number would have no more than quarters of one.
local function nowUs()
  local time = redis.call('TIME')
  return (tonumber(time[1]) - 1735689600) * 1000000 + tonumber(time[2])
end
