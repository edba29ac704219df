/** A farm in simulated time: jobs come, a policy starts them, they end. Nothing real is touched. */
import { choose, type Fairness, type Start, type WaitingJob } from '../../queues/choose.ts';
import type { OpenHost } from '../../queues/host-room.ts';
import type { Amount } from '../../src/jobs/amount.ts';

export interface SimulatedJob extends WaitingJob {
  /** How long it really runs, ms; at most `runMs`, which is what a policy sees. */
  readonly trueMs: number;
}

export type Policy = (
  now: number,
  waiting: readonly SimulatedJob[],
  hosts: readonly OpenHost[],
) => readonly Pick<Start, 'jobId' | 'host'>[];

export interface Ran {
  readonly job: SimulatedJob;
  readonly host: string;
  readonly startedAt: number;
  readonly endedAt: number;
}

/** As `WaitingIndex.candidates` does: the first jobs of every owner. */
export function firstOfEach(waiting: readonly SimulatedJob[], most = 64): SimulatedJob[] {
  return [...Map.groupBy(waiting, (job) => job.owner).values()].flatMap((own) =>
    own.sort((a, b) => a.key - b.key || a.position - b.position).slice(0, most),
  );
}

/** The product's own choice, with what its dispatcher remembers. For one simulation. */
export function fairPolicy(fairness: Fairness = {}): Policy {
  const served = new Map<string, number>();
  return (now, waiting, hosts) => {
    const { starts } = choose(now, firstOfEach(waiting), hosts, { served, ...fairness });
    for (const { jobId } of starts) {
      const job = waiting.find((one) => one.jobId === jobId);
      if (job) served.set(job.owner, now);
    }
    return starts;
  };
}

export interface Simulation {
  readonly capacities: readonly Amount[];
  /** Each comes at its `since`. */
  readonly jobs: readonly SimulatedJob[];
  readonly policy: Policy;
  /** Ends it then, no matter what is left. */
  readonly until?: number;
  /** Called after every instant at which something happened. */
  readonly watch?: (now: number, waiting: readonly SimulatedJob[], hosts: readonly OpenHost[]) => void;
}

/** Runs until nothing happens any more; jobs that never start are missing. @throws Error when a host is over its capacity */
export function simulate({ capacities, jobs, policy, watch, until = Infinity }: Simulation): Ran[] {
  const arrivals = [...jobs].sort((a, b) => a.since - b.since || a.position - b.position);
  const hosts = capacities.map((capacity, index) => ({
    name: `h${index}`,
    capacity,
    running: [] as (Amount & { owner: string; endsBy: number; trueEnd: number })[],
    lacks: new Set<string>(),
  }));
  const waiting = new Map<string, SimulatedJob>();
  const ran: Ran[] = [];
  for (let next = 0; ;) {
    const nextEnd = Math.min(...hosts.flatMap((host) => host.running.map((one) => one.trueEnd)), Infinity);
    const now = Math.min(arrivals[next]?.since ?? Infinity, nextEnd);
    if (now === Infinity || now > until) return ran;
    for (const host of hosts) host.running = host.running.filter((one) => one.trueEnd > now);
    for (let job = arrivals[next]; job && job.since <= now; job = arrivals[next]) {
      waiting.set(job.jobId, job);
      next += 1;
    }
    if (waiting.size > 0) {
      for (const { jobId, host: name } of policy(now, [...waiting.values()], hosts)) {
        const host = hosts.find((one) => one.name === name);
        const job = waiting.get(jobId);
        if (!host || !job) throw new Error(`the policy started ${jobId} on ${name}`);
        waiting.delete(jobId);
        const { owner, cpusMilli, memoryMib, runMs, trueMs } = job;
        const trueEnd = now + trueMs;
        host.running.push({ owner, cpusMilli, memoryMib, endsBy: now + runMs, trueEnd });
        ran.push({ job, host: name, startedAt: now, endedAt: trueEnd });
        const cpus = host.running.reduce((sum, one) => sum + one.cpusMilli, 0);
        const memory = host.running.reduce((sum, one) => sum + one.memoryMib, 0);
        if (cpus > host.capacity.cpusMilli || memory > host.capacity.memoryMib)
          throw new Error(`${name} holds more than it has`);
      }
    }
    watch?.(now, [...waiting.values()], hosts);
  }
}
