/**
 * What can be done with jobs. The API, the MCP tools and the command line call these methods and decide nothing
 * themselves. Every method that takes an owner sees that owner's jobs only; `null` sees all.
 */
import { refuseCachesInWork } from '../caches/known.ts';
import { type ErrorCode, FlashpodsError } from '../errors.ts';
import { newJobId } from '../ids.ts';
import type { ImageService } from '../images/service.ts';
import type { Logger } from '../observability/logger.ts';
import { amountOf, NOTHING } from './amount.ts';
import type { JobLimits } from './description/limits.ts';
import type { JobRequest, JobSpec } from './description/types.ts';
import type { Job } from './job.ts';
import type {
  Admission,
  Admissions,
  AdmissionWish,
  Announcements,
  CapacityReport,
  HostRegistry,
  JobQueue,
  OwnerTotals,
} from './ports.ts';
import type { JobLifecycle } from './lifecycle.ts';
import type { JobFilter, JobQueries } from './queries.ts';
import { hashSpec, loweredToMaximum, refuseRoot, specOf, toJobSpec } from './request.ts';
import { lowerDefaults, refuseBusy, refuseHolding, refuseUnsatisfiable } from './waiting-limits.ts';
import { toMb } from './kept.ts';
import type { NewJob } from './store.ts';
import { ACTIVE_STATES, isTerminal, isWaiting, WAITING_STATES } from './states.ts';
import { quotaExceeded, refuseBeyond, type TenantLimits } from '../tenants/tenant.ts';
import { Bell } from '../timing/bell.ts';
import type { TenantRegistry } from '../tenants/tenants.ts';
import { type Wait, waitUnknown } from './wait.ts';

export interface JobServiceResources {
  readonly lifecycle: JobLifecycle;
  readonly queries: JobQueries;
  readonly queue: JobQueue;
  readonly admissions: Admissions;
  readonly announcements: Announcements;
  readonly hosts: HostRegistry;
  readonly images: Pick<ImageService, 'refuseAbsent'>;
  readonly limits: JobLimits;
  /** False: a job that asks for `root`, or for packages, is refused. */
  readonly allowsRoot?: boolean;
  readonly tenants: TenantRegistry;
  readonly logger: Logger;
}

const ACTOR = 'api';
/** Announcements travel by pub/sub, which may lose them; a waiting caller looks by itself this often. */
const LOOK_EVERY_MS = 1_000;
/** What becomes of files that were there when a job was created. */
const FILES_GONE: readonly ErrorCode[] = ['upload_not_found', 'upload_expired', 'upload_already_consumed'];

const CANCEL_PAGE = 100;

export interface Creation {
  readonly job: Job;
  /** False for a job that an earlier request with the same key made. */
  readonly created: boolean;
}

/** What a request would come to. */
export interface JobCheck {
  readonly spec: JobSpec;
  readonly notes: readonly string[];
}

export interface JobPage {
  readonly jobs: readonly { readonly job: Job; readonly wait: Wait | null }[];
  /** How many match, on this page or not. */
  readonly total: number;
  /** The `beforePosition` of the next page; null when there is none. */
  readonly nextBefore: number | null;
}

export class JobService {
  readonly #r: JobServiceResources;

  constructor(resources: JobServiceResources) {
    this.#r = resources;
  }

  /** Defaults and maxima in force. */
  get limits(): JobLimits {
    return this.#r.limits;
  }

  /** Whether a job may ask for `root`. */
  get allowsRoot(): boolean {
    return this.#r.allowsRoot !== false;
  }

  /**
   * Accepts a job: row and journal entry first, then the queue. When Redis is away the job is accepted all the same
   * and stays `pending` until reconciliation enqueues it.
   * @param request as `parseCreateJob` gives it
   * @throws FlashpodsError for a reused key, resources that no host has, a limit of the owner, no room
   *   with `reject`
   */
  async create(owner: string, request: JobRequest): Promise<Creation> {
    const spec = this.#toSpec(request);
    const requestHash = hashSpec(spec);
    const clientJobId = request.client_job_id?.toLowerCase() ?? null;

    // A repeated creation is answered with its job, no matter what has become of the hosts since.
    const earlier = clientJobId === null ? null : await this.#r.queries.byClientJobId(owner, clientJobId);
    if (earlier) return { job: sameRequest(earlier, requestHash), created: false };

    // After the hash: which hosts there are does not make it another request.
    const lowered = lowerDefaults(spec, request, await this.#r.hosts.known());
    const notes = [...loweredToMaximum(request, this.#r.limits), ...lowered.notes];
    const { job, created } = await this.#accept(owner, lowered.spec, { clientJobId, requestHash, notes });
    return { job: created ? job : sameRequest(job, requestHash), created };
  }

  /**
   * Whether `create` would take the request now, without a job: all that can be known before files are sent. An
   * upload that it names is not looked at. A repeated creation is no error.
   * @param request as `parseCreateJob` gives it
   * @throws FlashpodsError as `create` does, but for uploads and keys
   */
  async check(owner: string, request: JobRequest): Promise<JobCheck> {
    const lowered = lowerDefaults(this.#toSpec(request), request, await this.#r.hosts.known());
    const notes = [...loweredToMaximum(request, this.#r.limits), ...lowered.notes];
    const limits = await this.#refuseHopeless(owner, lowered.spec, notes);
    if (lowered.spec.whenBusy === 'reject') {
      const wish = { ...lowered.spec, id: newJobId(), owner };
      if (!(await this.#r.admissions.hasRoom(wish))) await this.#refuseNow(wish, limits);
    }
    if (limits.queuedJobs !== null) {
      const filter = {
        owner,
        states: WAITING_STATES,
        type: null,
        label: null,
        limit: 1,
        beforePosition: null,
      };
      const { total } = await this.#r.queries.list(filter);
      if (total >= limits.queuedJobs)
        throw quotaExceeded('queued_jobs', { limit: limits.queuedJobs, used: total, requested: 1 });
    }
    return { spec: lowered.spec, notes };
  }

  #toSpec(request: JobRequest): JobSpec {
    const spec = toJobSpec(request, this.#r.limits);
    if (!this.allowsRoot) refuseRoot(spec);
    refuseCachesInWork(spec);
    return spec;
  }

  /**
   * A new job like this one, which may be in any state: the same values in force, the same owner, no key.
   * @throws FlashpodsError job_not_found, upload_already_consumed when its files are gone,
   *   and what `create` throws for resources that are not there
   */
  async rerun(id: string, owner: string | null): Promise<Job> {
    const job = await this.get(id, owner);
    const spec = specOf(job);
    if (!this.allowsRoot) refuseRoot(spec);
    try {
      const key = { clientJobId: null, requestHash: hashSpec(spec), notes: [] };
      return (await this.#accept(job.owner, spec, key, true)).job;
    } catch (error) {
      if (!(error instanceof FlashpodsError) || !FILES_GONE.includes(error.code)) throw error;
      throw new FlashpodsError(
        'upload_already_consumed',
        'The files of the job are gone; send them again and create a job.',
        { cause: error, details: { files_id: job.filesId } },
      );
    }
  }

  async #accept(
    owner: string,
    spec: JobSpec,
    key: Required<Pick<NewJob, 'clientJobId' | 'requestHash' | 'notes'>>,
    isRerun = false,
  ): Promise<{ job: Job; created: boolean }> {
    const limits = await this.#refuseHopeless(owner, spec, key.notes);
    const row = { ...spec, ...key, id: newJobId(), owner };
    const options = { maxWaiting: limits.queuedJobs, isRerun };
    const admission = spec.whenBusy === 'reject' ? await this.#admit(row, limits) : null;
    try {
      const { job, created } = await this.#r.lifecycle.accepted(row, options);
      if (created && admission !== null) return { job: await this.#startNow(job, admission), created };
      if (admission !== null) await this.#r.admissions.giveBack(admission);
      return { job: created ? await this.#enqueue(job) : job, created };
    } catch (error) {
      if (admission !== null) await this.#r.admissions.giveBack(admission);
      throw error;
    }
  }

  /** Holds room for a job that may not wait. @throws FlashpodsError quota_exceeded, insufficient_resources */
  async #admit(wish: AdmissionWish, limits: TenantLimits): Promise<Admission> {
    await refuseHolding(this.#r.queue, wish.owner, limits, amountOf(wish));
    return (await this.#r.admissions.hold(wish)) ?? (await this.#refuseNow(wish, limits));
  }

  /** Says what keeps it from a start now: a limit of its owner, or the hosts. */
  async #refuseNow(wish: AdmissionWish, limits: TenantLimits): Promise<never> {
    await refuseHolding(this.#r.queue, wish.owner, limits, amountOf(wish));
    return await refuseBusy(this.#r.queue, amountOf(wish));
  }

  /** Brings an accepted job to the room that is held for it. Never throws for Redis: then it waits like any other. */
  async #startNow(job: Job, admission: Admission): Promise<Job> {
    try {
      await this.#r.admissions.start(job, admission);
    } catch (error) {
      this.#r.logger.warn({ err: error, job_id: job.id }, 'the job could not be brought to its room');
      await this.#r.admissions.giveBack(admission);
    }
    const row = (await this.#r.queries.get(job.id)) ?? job;
    return isWaiting(row.status) ? await this.#enqueue(row) : row;
  }

  /**
   * @param notes what was lowered before
   * @returns the owner's limits @throws FlashpodsError for what no host, no image or no limit of the owner allows
   */
  async #refuseHopeless(owner: string, spec: JobSpec, notes: readonly string[]): Promise<TenantLimits> {
    const wanted = amountOf(spec);
    refuseUnsatisfiable(await this.#r.hosts.known(), wanted, notes);
    await this.#r.images.refuseAbsent(spec.image, owner);
    const { limits } = (await this.#r.tenants.inForce()).of(owner);
    // What one job alone goes beyond it would wait for in vain.
    refuseBeyond({ ...limits, runningJobs: null }, { jobs: 0, ...NOTHING }, wanted);
    if (spec.keepHours !== null && limits.keptMb !== null) {
      const used = toMb((await this.#r.queries.keptBytes(owner, Date.now())).get(owner) ?? 0);
      // How much it will leave is not known yet: one MB has to be free.
      if (used >= limits.keptMb) throw quotaExceeded('kept_mb', { limit: limits.keptMb, used, requested: 1 });
    }
    return limits;
  }

  /** Puts a waiting job into the queue; for `create` and for reconciliation. Never throws for a queue that is away. */
  async #enqueue(job: Job): Promise<Job> {
    try {
      await this.#r.queue.enqueue(job);
    } catch (error) {
      this.#r.logger.warn(
        { err: error, job_id: job.id },
        'the queue did not take the job; reconciliation will try again',
      );
      return job;
    }
    const queued = await this.#r.lifecycle.queued(job.id, ACTOR);
    this.#r.announcements.announce(job.id, null);
    // A dispatcher may have been faster: then the row says more than `queued` already.
    return queued ?? (await this.#r.queries.get(job.id)) ?? job;
  }

  /** @throws FlashpodsError job_not_found, also for somebody else's job */
  async get(id: string, owner: string | null): Promise<Job> {
    const job = await this.#r.queries.get(id);
    if (!job || (owner !== null && job.owner !== owner)) {
      throw new FlashpodsError('job_not_found', `There is no job ${JSON.stringify(id.slice(0, 64))}.`);
    }
    return job;
  }

  /** In the order that the filter asks for, each with how it stands in the queue. */
  async list(filter: JobFilter): Promise<JobPage> {
    if (filter.order === 'turn') return this.#turns(filter);
    // One more than asked for tells whether there is another page.
    const { jobs: found, total } = await this.#r.queries.list({ ...filter, limit: filter.limit + 1 });
    const page = found.slice(0, filter.limit);
    const waits = await this.waits(page);
    return {
      jobs: page.map((job, index) => ({ job, wait: waits[index] ?? null })),
      total,
      nextBefore: found.length > page.length ? (page.at(-1)?.position ?? null) : null,
    };
  }

  async #turns(filter: JobFilter): Promise<JobPage> {
    const { jobs: found, total } = await this.#r.queries.turns(filter);
    const waits = await this.waits(found);
    const all = found.map((job, index) => ({ job, wait: waits[index] ?? null }));
    const hosted = all.filter(({ job }) => !isWaiting(job.status));
    const place = ({ wait }: { readonly wait: Wait | null }): number =>
      wait?.position ?? Number.MAX_SAFE_INTEGER;
    const waiting = all.filter(({ job }) => isWaiting(job.status)).sort((a, b) => place(a) - place(b));
    return { jobs: [...hosted, ...waiting].slice(0, filter.limit), total, nextBefore: null };
  }

  /** The job once its state is no longer `since` or is terminal, and after `timeoutMs` at the latest. */
  async waitForChange(
    id: string,
    owner: string | null,
    timeoutMs: number,
    signal: AbortSignal,
  ): Promise<Job> {
    const first = await this.get(id, owner);
    if (isTerminal(first.status)) return first;
    const deadline = performance.now() + timeoutMs;
    const bell = new Bell(signal);
    const unsubscribe = this.#r.announcements.subscribe(id, bell.ring);
    try {
      for (;;) {
        const job = await this.get(id, owner);
        const remaining = deadline - performance.now();
        if (job.status !== first.status || signal.aborted || remaining <= 0) return job;
        await bell.wait(Math.min(remaining, LOOK_EVERY_MS));
      }
    } finally {
      unsubscribe();
    }
  }

  /**
   * Asks for the end of a job. A waiting one is cancelled here and now; for one that a host holds the wish is
   * written down, and the host carries it out. When this returns the job can no longer complete.
   * @throws FlashpodsError job_not_found, job_already_terminal
   */
  async cancel(id: string, owner: string | null): Promise<Job> {
    for (;;) {
      const job = await this.get(id, owner);
      if (isTerminal(job.status))
        throw new FlashpodsError('job_already_terminal', `The job has already ended (${job.status}).`);
      if (isWaiting(job.status)) {
        const cancelled = await this.#r.lifecycle.cancelled(id, ACTOR);
        if (!cancelled) continue; // dispatched in between: ask again
        await this.#r.queue.withdraw(id).catch((error: unknown) => {
          // Harmless: the dispatcher's compare-and-set refuses a row that is not queued, and withdraws it then.
          this.#r.logger.warn(
            { err: error, job_id: id },
            'the cancelled job could not be taken out of the queue',
          );
        });
        this.#r.announcements.announce(id, null);
        return cancelled;
      }
      const first = await this.#r.lifecycle.endingDecided(id, 'cancel', ACTOR);
      this.#r.announcements.announce(id, job.host);
      const now = await this.get(id, owner);
      if (!first && isTerminal(now.status))
        throw new FlashpodsError('job_already_terminal', `The job has already ended (${now.status}).`);
      // Something else may be ending it already (its exit, its timeout): it ends for that reason, and it ends.
      if (isWaiting(now.status) && now.endingReason === null) continue;
      return now;
    }
  }

  /** Asks for the end of every active job with the label. @returns the ids of those that had not ended by themselves */
  async cancelLabelled(label: readonly [string, string], owner: string | null): Promise<string[]> {
    const cancelled: string[] = [];
    // By pages: bounded memory, and a cancellation that is under way is not repeated.
    const filter = { owner, states: ACTIVE_STATES, type: null, label, limit: CANCEL_PAGE };
    for (let before: number | null = null; ;) {
      const { jobs }: { jobs: Job[] } = await this.#r.queries.list({ ...filter, beforePosition: before });
      for (const { id } of jobs) {
        try {
          await this.cancel(id, owner);
          cancelled.push(id);
        } catch (error) {
          if (!(error instanceof FlashpodsError) || error.code !== 'job_already_terminal') throw error;
        }
      }
      const last = jobs.at(-1);
      if (!last || jobs.length < CANCEL_PAGE) return cancelled;
      before = last.position;
    }
  }

  /** Calls whenever something about some job may have changed; may miss some. @returns what ends it */
  onChange(listener: () => void): () => void {
    return this.#r.announcements.subscribeAll(() => listener());
  }

  /** How a job stands if it waits, else null. Never throws: without the queue it says so. */
  async wait(job: Job): Promise<Wait | null> {
    return (await this.waits([job]))[0] ?? null;
  }

  /** {@link wait} of each, at the cost of little more than one. */
  async waits(jobs: readonly Job[]): Promise<(Wait | null)[]> {
    const waiting = jobs.filter((job) => isWaiting(job.status));
    if (waiting.length === 0) return jobs.map(() => null);
    const waits = await this.#r.queue.waits(waiting).catch(() => waiting.map(waitUnknown));
    const byId = new Map(waiting.map((job, index) => [job.id, waits[index] ?? null]));
    return jobs.map((job) => byId.get(job.id) ?? null);
  }

  capacity(): Promise<CapacityReport> {
    return this.#r.queue.capacity();
  }

  /** Of the owners that have jobs in the queue or on a host, or keep something. @throws when Redis is away */
  async usage(): Promise<ReadonlyMap<string, OwnerTotals>> {
    const [used, kept] = await Promise.all([
      this.#r.queue.usage(),
      this.#r.queries.keptBytes(null, Date.now()),
    ]);
    const nothing = { ...NOTHING, runningJobs: 0, queuedJobs: 0 };
    return new Map(
      [...new Set([...used.keys(), ...kept.keys()])].map((owner) => [
        owner,
        { ...(used.get(owner) ?? nothing), keptMb: toMb(kept.get(owner) ?? 0) },
      ]),
    );
  }
}

/** @throws FlashpodsError idempotency_key_reused */
function sameRequest(job: Job, requestHash: string): Job {
  if (job.requestHash === requestHash) return job;
  throw new FlashpodsError('idempotency_key_reused', undefined, { details: { job_id: job.id } });
}
