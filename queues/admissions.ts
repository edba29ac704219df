/**
 * Room for jobs that may not wait (`when_busy: reject`), held before there is the job: the API looks at hosts and queue as
 * the dispatcher would, and reserves what it finds in the same step that decides it. So two at once never get the same
 * room, and one that is accepted starts. It passes nobody: what is kept for jobs that wait is no room.
 *
 * Room that is held for a job which never comes (the process died in between) the sweeper takes back.
 */
import { FlashpodsError } from '../src/errors.ts';
import type { Job } from '../src/jobs/job.ts';
import type { Admission, Admissions, AdmissionWish } from '../src/jobs/ports.ts';
import type { Logger } from '../src/observability/logger.ts';
import type { TenantRegistry } from '../src/tenants/tenants.ts';
import { choose, type Start } from './choose.ts';
import { ask } from './connection.ts';
import { type DispatchOptions, DispatchSteps } from './dispatch.ts';
import { fairnessOf, holdLimits } from './fairness.ts';
import { Pulls } from './images/pulls.ts';
import { openHosts } from './open-hosts.ts';
import { stateOf } from './semaphore/farm-view.ts';
import type { Candidate } from './waiting/waiting-index.ts';

export interface AdmissionsOptions extends DispatchOptions {
  readonly tenants: TenantRegistry;
  readonly logger: Logger;
}

/** Somebody else was faster: so often it is looked for other room. */
const TRIES = 3;

export class QueueAdmissions implements Admissions {
  readonly #o: AdmissionsOptions;
  readonly #steps: DispatchSteps;
  readonly #pulls: Pulls;

  constructor(options: AdmissionsOptions) {
    this.#o = options;
    this.#steps = new DispatchSteps(options);
    this.#pulls = new Pulls(options);
  }

  async hasRoom(wish: AdmissionWish): Promise<boolean> {
    return (await this.#look(wish)) !== null;
  }

  async hold(wish: AdmissionWish): Promise<Admission | null> {
    const limits = holdLimits((await this.#o.tenants.inForce()).of(wish.owner));
    for (let tries = 0; tries < TRIES; tries += 1) {
      const found = await this.#look(wish);
      if (found === null) return null;
      const reserved = await this.#steps.reserve(found.candidate, found.start, limits, true);
      if (reserved) return reserved;
    }
    return null;
  }

  async start(job: Job, admission: Admission): Promise<boolean> {
    return await this.#steps.carryOn({ jobId: job.id, epoch: job.epoch }, admission);
  }

  async giveBack(admission: Admission): Promise<void> {
    try {
      await this.#steps.takeBack(admission);
    } catch (error) {
      this.#o.logger.warn({ err: error }, 'room that was held is not given back; the sweeper does it');
    }
  }

  /** @returns where it could start now, beside all that waits */
  async #look(wish: AdmissionWish): Promise<{ candidate: Candidate; start: Start } | null> {
    const { connection, semaphore, waiting, overheadMs } = this.#o.resources;
    const [view, others] = await ask(connection, 'room', () =>
      Promise.all([semaphore.view(), waiting.candidates()]),
    );
    // Nobody has founded it where no worker was ever up.
    if (!view.hosts.some((host) => stateOf(host) === 'up')) return null;
    if (!view.whole) throw new FlashpodsError('service_unavailable', 'The queue is being restored.');
    const last = { position: Number.MAX_SAFE_INTEGER, orderedAt: view.now, epoch: 0 };
    const candidate = waiting.candidateOf({ ...wish, ...last }, overheadMs);
    const candidates = [...others, candidate];
    const pulling = view.hosts.filter((host) => host.pulls && stateOf(host) === 'up');
    const lacking = await this.#pulls.lacking(pulling, candidates);
    const entitlements = await this.#o.tenants.inForce();
    // It has waited for nothing yet, and gets its image when it has its room.
    const hosts = [lacking, NONE_LACKING].map((lacks) =>
      openHosts(view, lacks, (host) => this.#pulls.failedOn(host)),
    );
    for (const open of hosts) {
      const { starts } = choose(view.now, candidates, open, fairnessOf(view, entitlements));
      const start = starts.find(({ jobId }) => jobId === wish.id);
      if (start) return { candidate, start };
    }
    return null;
  }
}

const NONE_LACKING: ReadonlyMap<string, ReadonlySet<string>> = new Map();
