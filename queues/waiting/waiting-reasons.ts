/** Why a job waits, as one plain sentence in its row. It says nothing of anybody else's job but how many are ahead. */
import type { JobStore } from '../../src/jobs/store.ts';
import type { Choice, OpenHost, Why } from '../choose.ts';
import type { Amount } from '../semaphore/semaphore.ts';
import type { Candidate } from './waiting-index.ts';

/** Rows further down the queue are not written: that would cost more the longer it is. */
const HEAD = 5;
/** A busy queue changes its sentences with every start; nobody reads faster than this. */
const REWRITE_MS = 1_000;

export class WaitingReasons {
  readonly #store: JobStore;
  #written = new Map<string, { sentence: string; at: number }>();

  constructor(store: JobStore) {
    this.#store = store;
  }

  /** Writes what has changed for the head of the queue. */
  async note(choice: Choice, candidates: readonly Candidate[], hosts: readonly OpenHost[]): Promise<void> {
    const now = performance.now();
    const byId = new Map(candidates.map((candidate) => [candidate.jobId, candidate]));
    const written = new Map<string, { sentence: string; at: number }>();
    for (const [ahead, { jobId, why }] of choice.waiting.slice(0, HEAD).entries()) {
      const candidate = byId.get(jobId);
      if (!candidate) continue;
      const sentence = waitingReason(why, candidate, ahead, hosts);
      const before = this.#written.get(jobId);
      if (before && (before.sentence === sentence || now - before.at < REWRITE_MS)) {
        written.set(jobId, before);
        continue;
      }
      await this.#store.patch(jobId, candidate.epoch, { waitingReason: sentence });
      written.set(jobId, { sentence, at: now });
    }
    this.#written = written;
  }
}

export function waitingReason(why: Why, wanted: Amount, ahead: number, hosts: readonly OpenHost[]): string {
  const turn = ahead === 0 ? 'It is next.' : ahead === 1 ? '1 job is ahead.' : `${ahead} jobs are ahead.`;
  if (hosts.length === 0) return `No host takes work at the moment. ${turn}`;
  switch (why) {
    case 'too_large':
      return `No host that takes work now has ${amount(wanted)}. ${turn}`;
    case 'held_back':
      return `There is room, and it is kept for a larger job ahead, which this one would delay. ${turn}`;
    case 'no_room': {
      const able = hosts.filter(
        ({ capacity }) => capacity.cpusMilli >= wanted.cpusMilli && capacity.memoryMib >= wanted.memoryMib,
      );
      const free = able
        .map((host) => ({ name: host.name, left: freeOf(host) }))
        .sort((a, b) => b.left.cpusMilli - a.left.cpusMilli);
      const [best] = free;
      const most = best
        ? `${able.length === 1 ? '' : 'of the hosts that could run it, '}${best.name} has ${amount(best.left)} free`
        : '';
      return `Waiting for ${amount(wanted)}: ${most}. ${turn}`;
    }
  }
}

function freeOf(host: OpenHost): Amount {
  return host.running.reduce<Amount>(
    (left, running) => ({
      cpusMilli: Math.max(0, left.cpusMilli - running.cpusMilli),
      memoryMib: Math.max(0, left.memoryMib - running.memoryMib),
    }),
    host.capacity,
  );
}

function amount({ cpusMilli, memoryMib }: Amount): string {
  const cpus = Math.floor(cpusMilli / 1_000);
  return `${cpus} ${cpus === 1 ? 'cpu' : 'cpus'} and ${Math.floor(memoryMib / 1_024)} GB`;
}
