-- Refusals, as in queues/semaphore/refusal.ts.
local UNKNOWN_HOST = -1
local FENCED = -2
local LEASE_ENDED = -3
local DRAINING = -4
local NOT_SYNCHRONISED = -5
local NOT_WAITING = -6
local ALREADY_RESERVED = -7
local NO_ROOM = -8
local NOT_RESERVED = -9
local ALREADY_CLAIMED = -10
local DATA_LOST = -11
local OVER_LIMIT = -12
local LEASE_LIVE = -13
