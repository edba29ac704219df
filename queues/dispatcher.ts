/** Brings waiting jobs to hosts. Runs in every worker process; one of them leads at a time. */
import type { Entitlements, TenantRegistry } from '../src/tenants/tenants.ts';
import { renewAppendOnlyLog } from './append-only-log.ts';
import { once } from '../src/lifecycle/once.ts';
import { Bell, pause } from '../src/timing/bell.ts';
import { choose, type Choice, STUCK } from './choose.ts';
import { DispatchSteps } from './dispatch.ts';
import { fairnessOf, holdLimits } from './fairness.ts';
import { Pulls, type PullsOptions } from './images/pulls.ts';
import { stateOf } from './semaphore/farm-view.ts';
import { Leadership } from './leadership/leadership.ts';
import { openHosts } from './open-hosts.ts';
import { Reconciler, type ReconcilerOptions } from './reconciler.ts';
import { Sweeper, type SweeperOptions } from './dispatch-sweeper.ts';
import { WaitingNotes } from './waiting/waiting-notes.ts';
import type { Candidate } from './waiting/waiting-index.ts';

export interface DispatcherOptions extends SweeperOptions, ReconcilerOptions {
  readonly tenants: TenantRegistry;
  /** Name of the host in whose worker process this runs. */
  readonly host: string;
  /** Time between two reconciliations, ms. */
  readonly reconcileMs: number;
  /** A job that waited this long is no longer delayed by later jobs of its owner, ms. Default 3,600,000. */
  readonly passingMs?: number;
  readonly tell?: PullsOptions['tell'];
}

/** Announcements wake the dispatcher at once; this is for those that were lost, and for what only time brings. */
const TICK_MS = 1_000;
/** Between two looks: a burst of 1,000 submissions a second is 200 looks, not 1,000. */
const PAUSE_MS = 4;
const AT_ONCE = 16;
/** Behind jobs that wait for what may never come, at once; the next second goes on from there. */
const LOOKS_FURTHER = 16;
const PASSING_MS = 3_600_000;

/**
 * - `unconnected`: Redis is away. Nothing is concluded from that; the next tick looks again.
 * - `failing`: Redis is there, and it or the database failed the last look. The same holds.
 * - `following`: another process leads. Looks each second, and at once when the leader has resigned.
 * - `restoring`: leads, and Redis has lost its data. They are written anew from the database; nothing starts.
 * - `dispatching`: leads, and Redis is whole. Sweeps and reconciles by the clock, and starts what has room, at once when
 *   room or work comes up.
 *
 * Every look decides the mode anew. From any mode `stop` ends the loop after the look that is under way.
 */
type Mode = 'unconnected' | 'failing' | 'following' | 'restoring' | 'dispatching';

export class Dispatcher {
  readonly #o: DispatcherOptions;
  readonly #leadership: Leadership;
  readonly #sweeper: Sweeper;
  readonly #reconciler: Reconciler;
  readonly #notes: WaitingNotes;
  readonly #pulls: Pulls;
  readonly #steps: DispatchSteps;
  readonly #stopping = new AbortController();
  readonly #bell = new Bell(this.#stopping.signal);
  #mode: Mode = 'following';
  #unsubscribe: () => void = () => undefined;
  #loop: Promise<void> | undefined;
  /** When this dispatcher last started something of an owner; one that takes the lead over begins anew. */
  readonly #served = new Map<string, number>();
  #lastTick = -Infinity;
  #lastReconciliation = -Infinity;
  /** Whether this connection's Redis was seen to be whole; asked anew after every loss of the connection. */
  #verified = false;
  readonly #noteOutage = (): void => {
    this.#verified = false;
  };

  constructor(options: DispatcherOptions) {
    this.#o = options;
    const { resources } = options;
    this.#leadership = new Leadership(resources.connection, resources.keys.prefix, options.host);
    this.#sweeper = new Sweeper(options);
    this.#reconciler = new Reconciler(options);
    this.#notes = new WaitingNotes(options);
    this.#pulls = new Pulls(options);
    this.#steps = new DispatchSteps(options);
  }

  start(): void {
    if (this.#loop || this.#stopping.signal.aborted) return;
    this.#unsubscribe = this.#o.resources.announcements.subscribeWake((vacancy) => {
      // Only the leader has to do with room and work.
      if (this.#mode !== 'following' || vacancy) this.#bell.ring();
    });
    this.#o.resources.connection.on('close', this.#noteOutage);
    this.#loop = this.#run();
  }

  /** Finishes the dispatches it has begun, and gives the lead up. */
  readonly stop = once(async (): Promise<void> => {
    this.#stopping.abort();
    this.#unsubscribe();
    await this.#loop;
    await this.#notes.settled();
    this.#o.resources.connection.off('close', this.#noteOutage);
    await this.#leadership.resign().catch(() => undefined); // it expires by itself
  });

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      this.#mode = await this.#look();
      await pause(PAUSE_MS, signal);
      if (this.#mode === 'unconnected' || this.#mode === 'failing') await pause(TICK_MS, signal);
      else await this.#bell.wait(TICK_MS);
    }
  }

  async #look(): Promise<Mode> {
    if (this.#o.resources.connection.status !== 'ready') return 'unconnected';
    try {
      if (!(await this.#leadership.lead())) return 'following';
      if (!(await this.#whole())) return 'restoring';
      this.#mode = 'dispatching';
      await this.#tend();
      await this.#dispatchAll();
      return 'dispatching';
    } catch (error) {
      if (this.#mode !== 'failing') this.#o.logger.warn({ err: error }, 'dispatch is interrupted');
      return 'failing';
    }
  }

  /** Whether Redis has all it should have; asked anew after every loss of the connection. */
  async #whole(): Promise<boolean> {
    if (this.#verified) return true;
    this.#verified = true; // before the question: a connection that is lost meanwhile makes it false again
    const { connection, keys, semaphore } = this.#o.resources;
    let whole = false;
    try {
      whole = (await semaphore.verify()) || (await this.#reconciler.restore(() => this.#leadership.lead()));
    } finally {
      if (!whole) this.#verified = false;
    }
    if (whole) await renewAppendOnlyLog(connection, keys);
    else await this.#notes.noteRecovery(await semaphore.view());
    return this.#verified;
  }

  /** What is done by the clock. */
  async #tend(): Promise<void> {
    const now = performance.now();
    if (now - this.#lastTick < TICK_MS) return;
    this.#lastTick = now;
    const view = await this.#o.resources.semaphore.view();
    if (!view.whole) {
      this.#verified = false;
      return;
    }
    await this.#o.resources.waiting.setWeights((await this.#o.tenants.inForce()).weights);
    const thorough = now - this.#lastReconciliation >= this.#o.reconcileMs;
    await this.#sweeper.sweep(view, thorough);
    if (!thorough) return;
    this.#lastReconciliation = now;
    await this.#reconciler.reconcile();
    await renewAppendOnlyLog(this.#o.resources.connection, this.#o.resources.keys);
  }

  async #dispatchAll(): Promise<void> {
    const began = performance.now();
    for (let further = 0; ;) {
      const [view, candidates] = await Promise.all([
        this.#o.resources.semaphore.view(),
        this.#o.resources.waiting.candidates(),
      ]);
      if (!view.whole) this.#verified = false;
      if (!this.#verified || this.#stopping.signal.aborted) return;
      const lacking = await this.#pulls.lacking(
        view.hosts.filter((host) => host.pulls && stateOf(host) === 'up'),
        candidates,
      );
      // Those in front have waited longest for the image that has come.
      if (this.#pulls.takeArrival() && this.#o.resources.waiting.lookFromFront()) continue;
      const hosts = openHosts(view, lacking, (host) => this.#pulls.failedOn(host));
      const entitlements = await this.#o.tenants.inForce();
      const fairness = {
        ...fairnessOf(view, entitlements),
        served: this.#served,
        patienceMs: this.#o.passingMs ?? PASSING_MS,
      };
      const chosen = choose(view.now, candidates, hosts, fairness);
      const choice = await this.#pulls.carryOut(chosen, lacking, candidates);
      if ((await this.#startAll(choice, candidates, entitlements)) > 0) {
        if (performance.now() - began < TICK_MS) continue;
        // The lead has to be renewed and the clock looked at, however much there is to start.
        this.#bell.ring();
        return;
      }
      const goesOn = this.#o.resources.waiting.noteStuck(candidates, stuckIn(choice));
      this.#notes.note({ view, candidates, hosts, choice, fairness });
      further += 1;
      if (!goesOn || further >= LOOKS_FURTHER || performance.now() - began >= TICK_MS) return;
    }
  }

  async #startAll(
    choice: Choice,
    candidates: readonly Candidate[],
    entitlements: Entitlements,
  ): Promise<number> {
    const byId = new Map(candidates.map((candidate) => [candidate.jobId, candidate]));
    let started = 0;
    const queue = [...choice.starts];
    const lane = async (): Promise<void> => {
      for (
        let next = queue.shift();
        next && !this.#stopping.signal.aborted && this.#verified;
        next = queue.shift()
      ) {
        const candidate = byId.get(next.jobId);
        if (!candidate) continue;
        const limits = holdLimits(entitlements.of(candidate.owner));
        const dispatch = await this.#steps.start(candidate, next, limits);
        if (!dispatch) continue;
        started += 1;
        this.#served.set(candidate.owner, Date.now());
        this.#o.logger.debug(
          { job_id: dispatch.jobId, epoch: dispatch.epoch, host: dispatch.host },
          'dispatched',
        );
      }
    };
    const lanes = await Promise.allSettled(Array.from({ length: AT_ONCE }, lane));
    const failed = lanes.find((result) => result.status === 'rejected');
    if (failed) throw failed.reason;
    return started;
  }
}

/** Jobs that wait for what other jobs' ends can't bring. */
const stuckIn = ({ waiting }: Choice): ReadonlySet<string> =>
  new Set(waiting.filter(({ why }) => STUCK.has(why)).map(({ jobId }) => jobId));
