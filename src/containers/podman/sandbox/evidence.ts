/** What is known of how a job ended and what it used; kept in its sandbox, so that it survives container and worker. */
import type { Usage, Verdict } from '../../runtime.ts';
import type { Limits } from '../../sandbox.ts';
import { type Counters, NO_COUNTERS } from '../cgroups/cgroups.ts';
import type { DiskUse } from '../disks/disk.ts';
import { isRecord } from '../../../is-record.ts';

export interface Evidence {
  readonly counters: Counters;
  readonly exitCode: number | null;
  /** We sent SIGKILL, so 137 says nothing. */
  readonly killedByUs: boolean;
  readonly diskFull: boolean;
  readonly diskError: boolean;
  readonly diskWrittenBytes: number | null;
}

export const NO_EVIDENCE: Evidence = {
  counters: NO_COUNTERS,
  exitCode: null,
  killedByUs: false,
  diskFull: false,
  diskError: false,
  diskWrittenBytes: null,
};

const larger = (a: number | null, b: number | null): number | null =>
  a === null ? b : b === null ? a : Math.max(a, b);

/** All counters only ever grow, so of two looks the larger is right, also when the leaf was gone for one of them. */
export function mergeCounters(a: Counters, b: Counters): Counters {
  return {
    oomKills: larger(a.oomKills, b.oomKills),
    memoryPeakBytes: larger(a.memoryPeakBytes, b.memoryPeakBytes),
    cpuSeconds: larger(a.cpuSeconds, b.cpuSeconds),
    pidsPeak: larger(a.pidsPeak, b.pidsPeak),
    pidsRefused: larger(a.pidsRefused, b.pidsRefused),
    bytesWritten: larger(a.bytesWritten, b.bytesWritten),
  };
}

export function withLook(evidence: Evidence, counters: Counters, disk: DiskUse | null): Evidence {
  return {
    ...evidence,
    counters: mergeCounters(evidence.counters, counters),
    diskFull: evidence.diskFull || (disk?.full ?? false),
    diskWrittenBytes: larger(evidence.diskWrittenBytes, disk?.writtenBytes ?? null),
  };
}

/** @param value content of an `evidence.json` of ours, or null */
export function parseEvidence(value: unknown): Evidence {
  if (!isRecord(value)) return NO_EVIDENCE;
  const stored = value as Partial<Evidence>;
  return { ...NO_EVIDENCE, ...stored, counters: { ...NO_COUNTERS, ...stored.counters } };
}

export function verdictOf(evidence: Evidence, limits: Limits | null): Verdict {
  const { counters } = evidence;
  return {
    usage: usageOf(evidence),
    oomKilled: counters.oomKills === null ? looksOomKilled(evidence, limits) : counters.oomKills > 0,
    diskFull: evidence.diskFull,
    diskError: evidence.diskError,
    pidsExhausted:
      counters.pidsRefused === null
        ? (counters.pidsPeak ?? 0) >= (limits?.pidsLimit ?? Infinity)
        : counters.pidsRefused > 0,
  };
}

/**
 * On cgroup v1 only the container's own cgroup counts kills, and nobody looked before Podman removed it: a
 * container that was at its limit and was killed, not by us, was killed for memory.
 */
function looksOomKilled({ counters, exitCode, killedByUs }: Evidence, limits: Limits | null): boolean {
  const atLimit = limits !== null && (counters.memoryPeakBytes ?? 0) >= limits.memoryBytes * 0.99;
  return exitCode === 137 && !killedByUs && atLimit;
}

function usageOf({ counters, diskWrittenBytes }: Evidence): Usage {
  const usage = {
    peakMemoryBytes: counters.memoryPeakBytes,
    cpuSeconds: counters.cpuSeconds,
    bytesWritten: larger(diskWrittenBytes, counters.bytesWritten),
    maxProcesses: counters.pidsPeak,
  };
  const reason = 'this host has no cgroup that counts it for us';
  const unknown = Object.fromEntries(
    Object.entries(usage).flatMap(([field, value]) => (value === null ? [[field, reason]] : [])),
  );
  return Object.keys(unknown).length > 0 ? { ...usage, unknown } : usage;
}
