-- Names below the prefix, as in queues/keys.ts, and what stands behind them.
--
-- host:<name>        hash   cpus, memory        capacity: milli-cpus, MiB
--                           disk                MiB of its disk that jobs may reserve, as last measured; '' no bound
--                           diskMost            MiB that a job without a wish gets of it at most
--                           diskPlace           file system of that disk: hosts of one machine may share it
--                           usedCpus, usedMemory, usedDisk, held   sums of its reservations, and their number
--                           generation          number of the process that owns the name
--                           beatAt, leaseMs     last heartbeat; how long it is good for
--                           synchronised        1: what really runs has been entered since register or restart
--                           pulls               1: its worker gets images before anything is reserved
--                           draining, lost      1: takes nothing new; given up
-- host:<name>:jobs   set    job ids that hold a reservation there
-- host:<name>:images hash   image → what its worker says of it, see queues/images/
-- host:<name>:wishes hash   image → when dispatch last wanted it there
-- hosts              set    host names
-- reservation:<job>  hash   epoch, host, owner, cpus, memory, disk, claimed (0/1), at, claimedAt, endsBy ('' unknown),
--                           ticket
-- reservations       set    job ids of all reservations
-- held:jobs, held:cpus, held:memory   hashes   sums of the reservations by owner; no field for one that holds none
-- released:<job>     string epoch of the last release; expires, see sync.lua
-- waiting:entry:<job> string the job waits, see includes/waiting.lua
-- server             hash   nonce, run, restoring
-- Times are milliseconds since the Unix epoch by Redis's own clock.
local PREFIX = KEYS[1]
local function hostKey(name) return PREFIX .. ':host:' .. name end
local function hostJobsKey(name) return PREFIX .. ':host:' .. name .. ':jobs' end
local function hostImagesKey(name) return PREFIX .. ':host:' .. name .. ':images' end
local function hostStockKey(name) return PREFIX .. ':host:' .. name .. ':stock' end
local function hostRemovalsKey(name) return PREFIX .. ':host:' .. name .. ':removals' end
local function hostWishesKey(name) return PREFIX .. ':host:' .. name .. ':wishes' end
local function hostWishOwnersKey(name) return PREFIX .. ':host:' .. name .. ':wish-owners' end
local HOSTS = PREFIX .. ':hosts'
local function reservationKey(jobId) return PREFIX .. ':reservation:' .. jobId end
local RESERVATIONS = PREFIX .. ':reservations'
local HELD_JOBS = PREFIX .. ':held:jobs'
local HELD_CPUS = PREFIX .. ':held:cpus'
local HELD_MEMORY = PREFIX .. ':held:memory'
local function releasedKey(jobId) return PREFIX .. ':released:' .. jobId end
local function waitingKey(jobId) return PREFIX .. ':waiting:entry:' .. jobId end
local SERVER = PREFIX .. ':server'
local WAKE = PREFIX .. ':wake'
local function hostChannel(name) return PREFIX .. ':look:' .. name end
