-- Names of the index of waiting jobs. A lane is one owner's jobs of one priority.
--
-- waiting:job:<job>                 hash  owner, priority, position, cpus, memory, runMs, epoch, createdAt
-- waiting:priority:<n>              zset  job ids by position: places in the queue
-- waiting:owners:<n>                set   owners with a lane of that priority
-- waiting:lane:<n>:<owner>          zset  job ids by position
-- waiting:deadlines                 zset  job ids by the time at which they have waited too long
-- @include keys
local LOWEST_PRIORITY = 10
local function priorityKey(priority) return PREFIX .. ':waiting:priority:' .. priority end
local function ownersKey(priority) return PREFIX .. ':waiting:owners:' .. priority end
local function laneKey(priority, owner) return PREFIX .. ':waiting:lane:' .. priority .. ':' .. owner end
local DEADLINES = PREFIX .. ':waiting:deadlines'
