-- Milliseconds since the Unix epoch, and how integers are written: Lua would print 1.8e+12.
local function nowMs()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end
local function int(value) return string.format('%.0f', value) end
