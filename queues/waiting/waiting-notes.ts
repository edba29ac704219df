/**
 * What the dispatcher that leads tells about those who wait: the {@link Outlook} for everybody who shows one of them,
 * and for the head of the queue a sentence in the row and an entry in the journal whenever the reason is another one.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { leftOf } from '../../src/jobs/amount.ts';
import type { JobLifecycle } from '../../src/jobs/lifecycle.ts';
import type { JobQueries } from '../../src/jobs/queries.ts';
import type { Logger } from '../../src/observability/logger.ts';
import { type Choice, type Fairness, type Pull, STUCK } from '../choose.ts';
import type { OpenHost } from '../host-room.ts';
import { type Plan, planStarts, startOfPosition } from '../estimate.ts';
import { stateOf, type FarmView } from '../semaphore/farm-view.ts';
import type { QueueResources } from '../resources.ts';
import type { HostOutlook, JobOutlook, Outlook } from './outlook.ts';
import type { Candidate } from './waiting-index.ts';
import { waitOf } from './waiting-reasons.ts';

export interface WaitingNotesOptions {
  readonly resources: Pick<QueueResources, 'outlook' | 'waiting'>;
  readonly lifecycle: JobLifecycle;
  readonly queries: Pick<JobQueries, 'get'>;
  readonly logger: Logger;
}

/** One look of the dispatcher in which nothing was left to start. */
export interface Look {
  readonly view: FarmView;
  readonly candidates: readonly Candidate[];
  readonly hosts: readonly OpenHost[];
  readonly choice: Choice;
  readonly fairness?: Fairness;
}

/** A busy dispatcher looks hundreds of times a second; nobody reads faster than this. */
const PUBLISH_MS = 500;
/** A look often follows a start, which this process carries out too: planning ahead takes its processor later. */
const AFTER_MS = 200;
/** Rows further down the queue are not written: that would cost more the longer it is. */
const HEAD = 5;
/** A job that starts within this time is not worth an entry. */
const SETTLED_MS = 250;
const REWRITE_MS = 1_000;

interface Noted {
  readonly since: number;
  readonly why: string | null;
  readonly sentence: string | null;
  readonly at: number;
}

export class WaitingNotes {
  readonly #o: WaitingNotesOptions;
  #published = -Infinity;
  #noting: Promise<void> | undefined;
  #noted = new Map<string, Noted>();

  constructor(options: WaitingNotesOptions) {
    this.#o = options;
  }

  /** Returns at once, and never throws: no start waits for what is told of those that don't. */
  note(look: Look): void {
    const now = performance.now();
    if (this.#noting || now - this.#published < PUBLISH_MS) return;
    this.#published = now;
    this.#noting = this.#note(look, now)
      .catch((error: unknown) => {
        this.#o.logger.debug({ err: error }, 'what waiting jobs are told could not be written');
      })
      .finally(() => (this.#noting = undefined));
  }

  /** Resolves when nothing is being written any more. */
  async settled(): Promise<void> {
    await this.#noting;
  }

  async #note(look: Look, now: number): Promise<void> {
    await delay(AFTER_MS);
    const outlook = outlookOf(look);
    await this.#o.resources.outlook.publish(outlook);
    await this.#noteHead(look, outlook, now);
  }

  /** Redis has lost its data, and the hosts have not all said what they hold. */
  async noteRecovery(view: FarmView): Promise<void> {
    const hosts = view.hosts.map(present);
    await this.#o.resources.outlook.publish({ at: view.now, recovering: true, hosts, jobs: {}, plan: null });
  }

  async #noteHead({ choice, candidates }: Look, outlook: Outlook, now: number): Promise<void> {
    const byId = new Map(candidates.map((candidate) => [candidate.jobId, candidate]));
    const head = choice.waiting.slice(0, HEAD);
    const places = await this.#o.resources.waiting.places(head.map(({ jobId }) => jobId));
    const noted = new Map<string, Noted>();
    for (const [index, { jobId, why }] of head.entries()) {
      const candidate = byId.get(jobId);
      if (!candidate) continue;
      const before = this.#noted.get(jobId) ?? { since: now, why: null, sentence: null, at: -Infinity };
      noted.set(jobId, before);
      if (now - before.since < SETTLED_MS || now - before.at < REWRITE_MS) continue;
      const row = await this.#o.queries.get(jobId);
      if (row?.epoch !== candidate.epoch) continue;
      const { reason } = waitOf(row, places[index] ?? null, outlook);
      if (reason === before.sentence) continue;
      await this.#o.lifecycle.waits(jobId, candidate.epoch, reason, why === before.why ? null : why);
      noted.set(jobId, { since: before.since, why, sentence: reason, at: now });
    }
    this.#noted = noted;
  }
}

function outlookOf({ view, candidates, hosts, choice, fairness }: Look): Outlook {
  const plan = candidates.length === 0 ? null : planStarts(view.now, candidates, hosts, fairness);
  const pulls = new Map(choice.pulls.map((pull) => [pull.jobId, pull]));
  const jobs = choice.waiting.map(({ jobId, why }, index): [string, JobOutlook] => {
    const pull = pulls.get(jobId);
    const startsAt = STUCK.has(why) ? null : startOf(plan, jobId, index);
    return [jobId, { why, startsAt, ...pullOf(pull) }];
  });
  return {
    at: view.now,
    recovering: false,
    hosts: view.hosts.map(present),
    jobs: Object.fromEntries(jobs),
    plan: plan && { at: plan.at, offsets: plan.offsets, spanMs: plan.spanMs },
  };
}

const pullOf = (pull: Pull | undefined): Pick<JobOutlook, 'pullOn' | 'pullStep'> => ({
  ...(pull === undefined ? {} : { pullOn: pull.host }),
  ...(pull?.step === undefined ? {} : { pullStep: pull.step }),
});

/** @param index its place among those that were looked at and wait */
const startOf = (plan: Plan | null, jobId: string, index: number): number | null =>
  plan === null
    ? null
    : plan.starts.has(jobId)
      ? (plan.starts.get(jobId) ?? null)
      : startOfPosition(plan, index + 1);

function present(host: FarmView['hosts'][number]): HostOutlook {
  const { name, capacity, used, diskMostMib } = host;
  const most = diskMostMib === undefined ? {} : { diskMostMib };
  return { name, state: stateOf(host), capacity, ...most, free: leftOf(capacity, used) };
}
