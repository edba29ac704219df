/**
 * One dispatch of one job on this host, from claim to terminal state: launch, follow, settle, finish. Begun anew after
 * a crash it looks at what is there ({@link decide}) and goes on from that point, so every step can be the last one of
 * a process and the first one of the next. Longer than other files: here alone all steps stand in their order.
 */
import type { ContainerState } from '../src/containers/runtime.ts';
import type { Sandbox } from '../src/containers/sandbox.ts';
import type { Job } from '../src/jobs/job.ts';
import { type Failure, failurePatch } from '../src/jobs/lifecycle.ts';
import { type EndingReason, isHosted } from '../src/jobs/states.ts';
import type { Logger } from '../src/observability/logger.ts';
import type { Attendants, Started } from './attendants/attendant.ts';
import { attendantsOf } from './attendants/job-attendants.ts';
import type { LogAttendant } from './attendants/log.ts';
import type { DispatchRecord } from './dispatch-records.ts';
import { Ending } from './ending.ts';
import { readUptimeMs } from './host-facts.ts';
import { JobClock } from './job-clock.ts';
import { persist, settleAll } from './persist.ts';
import { decide } from './recovery.ts';
import type { SupervisionResources } from './resources.ts';
import { cacheLine, publishCaches } from './stages/caches.ts';
import { collect, type Collected, NOTHING_COLLECTED } from './stages/collect.ts';
import { writeEnd } from './stages/finish.ts';
import { Fenced, type Launching, provision, pullLines, start, startFailure } from './stages/launch.ts';
import { prepare } from './stages/prepare.ts';
import { StartDeadline } from './stages/start-deadline.ts';

/** How a run came out: `done` with its exit code, or `void`: nothing exists and nothing may be started. */
export type RunResult =
  | { readonly kind: 'done'; readonly exitCode: number | null }
  | { readonly kind: 'void'; readonly why: 'no_reservation' | 'no_room' | 'fenced' };

type End = NonNullable<DispatchRecord['end']>;

const FENCED: RunResult = { kind: 'void', why: 'fenced' };

export class JobRun {
  readonly #r: SupervisionResources;
  readonly #job: Job;
  readonly #logger: Logger;
  readonly #actor: string;
  /** Aborted when this process gives the job up for a successor to adopt. */
  readonly #detach: AbortSignal;
  readonly #ending: Ending;
  readonly #log: LogAttendant;
  readonly #clock: JobClock;
  readonly #attendants: Attendants;
  #sandbox: Sandbox | null = null;
  /** In which packages are being installed for it. */
  #build: Sandbox | null = null;
  #imageDigest: string | null;
  /** From the claim until the container is gone. */
  #holdsCapacity = false;

  constructor(resources: SupervisionResources, job: Job, detach: AbortSignal) {
    this.#r = resources;
    this.#job = job;
    const logger = resources.logger.child({ job_id: job.id, epoch: job.epoch });
    this.#logger = logger;
    this.#actor = `host:${resources.host}`;
    this.#detach = detach;
    this.#imageDigest = job.imageDigest;
    const ask = <T>(what: string, work: () => Promise<T>): Promise<T> => this.#ask(what, work);
    const { lifecycle, queries } = resources;
    const ending = new Ending({ lifecycle, queries, job, actor: this.#actor, ask });
    this.#ending = ending;
    const { log, timeout, all } = attendantsOf(resources, { job, ending, detach, logger, ask });
    this.#log = log;
    this.#clock = new JobClock({
      resources,
      job,
      actor: this.#actor,
      timeout,
      ask,
      look: () => this.look(),
    });
    this.#attendants = all;
  }

  /** See {@link Ending.look}. */
  look(known?: Job): Promise<void> {
    return this.#ending.look(known);
  }

  /** Whether cpus and memory of the host belong to this run: what a synchronisation tells the semaphore. */
  get holdsCapacity(): boolean {
    return this.#holdsCapacity;
  }

  get job(): Job {
    return this.#job;
  }

  /** Whether a sandbox belongs to this run, by its id. */
  owns(sandbox: string): boolean {
    return this.#sandbox?.id === sandbox || this.#build?.id === sandbox;
  }

  /** @throws the reason of the detach signal when it is aborted: then everything is left for a successor */
  async run(): Promise<RunResult> {
    try {
      return await this.#run();
    } finally {
      await this.#attendants.close('detached');
    }
  }

  async #run(): Promise<RunResult> {
    const { id, epoch, status } = this.#job;
    if (status !== 'starting' && status !== 'running')
      throw new Error(`${id} is ${status}, which no host holds`);
    const record = await this.#ask('reading the dispatch record', () => this.#r.records.read(id, epoch));
    if (status === 'starting' && record === null) {
      // Its end was decided, perhaps by a process that died of it: that needs no reservation, which may be gone.
      if (this.#ending.reason !== null) {
        this.#holdsCapacity = true;
        return this.#fail(this.#ending.reason, null);
      }
      // Nothing of it was ever started, so nothing is lost by waiting for Redis.
      const claimed = await this.#ask('claiming the reservation', () => this.#r.claim(id, epoch));
      // guard: claim-before-start
      if (claimed === 'no_reservation' || claimed === 'fenced') return { kind: 'void', why: claimed };
      this.#holdsCapacity = true;
      // Nobody can have created anything before the first claim: no need to look.
      if (claimed === 'first') return this.#launch('launch');
    }
    const container = await this.#find();
    const action = decide({ status, container, record, bootId: this.#r.bootId });
    this.#logger.info({ action: action.do }, 'taking over a job');
    if (!this.#holdsCapacity) {
      this.#holdsCapacity = true;
      // What exists goes on without the reservation's word: a synchronisation re-enters it.
      void this.#r.claim(id, epoch).catch(() => undefined);
    }

    switch (action.do) {
      case 'launch':
      case 'start':
        await this.#clock.resume(record, this.#facts);
        return this.#launch(action.do);
      case 'follow':
        await this.#adopt(container);
        return this.#follow({ record, startedAt: container?.startedAt ?? null });
      case 'settle':
        await this.#adopt(container);
        return this.#settle(container, endOf(container, this.#job));
      case 'finish':
        return this.#finish(record?.end ?? null);
      case 'lose':
        return this.#fail('lost', {
          code: action.error,
          message: 'The container of the job was gone when its worker came back.',
        });
    }
  }

  /** Finds what an earlier process left. @returns the container, if there is one */
  async #find(): Promise<ContainerState | null> {
    const { id, epoch } = this.#job;
    return this.#ask('looking at the container', async () => {
      this.#sandbox ??= await this.#r.runtime.find(id, epoch);
      return (await this.#sandbox?.inspect()) ?? null;
    });
  }

  /** @param from `start`: the container was created by an earlier process */
  async #launch(from: 'launch' | 'start'): Promise<RunResult> {
    const { startTimeoutSeconds } = this.#r.config;
    const deadline = new StartDeadline(startTimeoutSeconds * 1000);
    const stop = AbortSignal.any([this.#detach, deadline.signal, this.#ending.decided]);
    const launching: Launching = { stop, logger: this.#logger, tell: (line) => this.#log.system(line) };
    const hold = (build: Sandbox | null): void => void (this.#build = build);
    try {
      if (from === 'launch') for (const line of pullLines(this.#r, this.#job)) this.#log.system(line);
      const sandbox = (this.#sandbox ??= await provision(this.#r, this.#job));
      const [, digest] = await settleAll([
        this.#attendants.open(sandbox),
        from === 'launch'
          ? prepare(this.#r, this.#job, sandbox, { ...launching, deadline, clock: this.#clock, hold })
          : this.#imageDigest,
      ]);
      this.#imageDigest = digest;
      stop.throwIfAborted();
      this.#log.follow();
      await start(this.#r, sandbox, () => this.look(), launching);
      for (const { target } of sandbox.brokenCaches)
        this.#log.system(cacheLine(target, 'cold, since what is kept of it could not be mounted'));
    } catch (error) {
      if (error instanceof Fenced) return FENCED;
      this.#detach.throwIfAborted();
      if (await this.#endedElsewhere()) return FENCED;
      // An ending overtook the start: nothing of it may run, and it never shows `running`.
      if (this.#ending.reason !== null) return this.#fail(this.#ending.reason, null);
      if (from === 'launch' && (await this.#lacksRoom())) return this.#giveUpPlace(error);
      const failure = startFailure(error, deadline.signal.aborted, startTimeoutSeconds);
      this.#logger.error({ err: error, code: failure.code }, 'the job could not be started');
      return this.#fail('start_failed', failure);
    } finally {
      deadline.stop();
    }
    const { id: jobId, epoch } = this.#job;
    const now = Date.now();
    const since = this.#clock.since ?? { startedAt: now, startedUptimeMs: readUptimeMs() };
    const startedAt = since.startedAt ?? now;
    const { bootId, records } = this.#r;
    const record: DispatchRecord = { jobId, epoch, phase: 'started', bootId, ...since };
    // Timeout, cancellation and exit hold from now on, also while disk or database take nothing.
    const recorded = Promise.all([
      this.#ask('writing the dispatch record', () => records.write(record)),
      this.#clock.running(startedAt, this.#facts),
    ]);
    return this.#follow({ record, startedAt }, recorded);
  }

  /** Whether the host's disk is what kept the job from beginning: others have filled it since its room was reserved. */
  async #lacksRoom(): Promise<boolean> {
    if (!this.#r.isDiskFull()) return false;
    const { id, epoch } = this.#job;
    // What exists by then, or was paid for with the job's own time, is not begun anew elsewhere.
    return (await this.#ask('reading the dispatch record', () => this.#r.records.read(id, epoch))) === null;
  }

  /** Nothing of it was begun: it waits again, as it would have had the disk been looked at a moment later. */
  async #giveUpPlace(error: unknown): Promise<RunResult> {
    this.#logger.warn({ err: error }, 'the disk is full: the job waits again');
    await this.#ask('removing the sandbox', async () => {
      await this.#sandbox?.kill();
      await this.#sandbox?.dispose();
    });
    this.#release();
    return { kind: 'void', why: 'no_room' };
  }

  async #adopt(container: ContainerState | null): Promise<void> {
    await this.#attendants.open(this.#sandbox);
    this.#log.follow();
    await this.#clock.running(container?.startedAt ?? Date.now(), this.#facts);
  }

  /** @param recorded settled before the end of the job is written down: its start comes first */
  async #follow(started: Started, recorded: Promise<unknown> = Promise.resolve()): Promise<RunResult> {
    const sandbox = this.#existing();
    this.#attendants.started(sandbox, started);
    const [state] = await Promise.all([
      this.#ask('waiting for the exit', () => sandbox.waitForExit(this.#detach)),
      recorded,
    ]);
    return this.#settle(state);
  }

  /** The process is gone: log to its end, verdict, record; then {@link #finish}. */
  async #settle(state: ContainerState | null, endedAt = Date.now()): Promise<RunResult> {
    if (state === null) {
      if (await this.#endedElsewhere()) return FENCED;
      const message = 'The container vanished while the job ran.';
      return this.#fail('lost', { code: 'container_lost_on_recovery', message });
    }
    void this.#existing()
      .artifactsPath()
      .then((source) => this.#r.artifacts.expect?.(source))
      .catch(() => undefined); // collecting them says what is wrong
    // All at once: on a full disk the verdict may be what makes room for the others.
    const [verdict] = await Promise.all([
      this.#ask('reading the verdict', () => this.#existing().verdict()),
      this.#ending.decide('exit', { endedAt }).then(async (reason) => {
        if (reason === 'exit') return;
        await this.#ask('writing its end', () => this.#r.lifecycle.containerEnded(this.#job, endedAt));
      }),
      this.#attendants.close('ended'),
    ]);
    const log = this.#log.result;
    const end: End = {
      exitCode: state.exitCode,
      endedAt,
      verdict,
      logTruncated: log?.truncated ?? false,
      logIncomplete: log?.incomplete ?? false,
      cancelSeen: this.#ending.cancelSeen,
    };
    const { id: jobId, epoch } = this.#job;
    await this.#ask('writing the dispatch record', () =>
      this.#r.records.write({ jobId, epoch, phase: 'ended', bootId: this.#r.bootId, end }),
    );
    return this.#finish(end);
  }

  /** Whether another process of this host has settled the job: it says so in the record before the container goes. */
  #endedElsewhere(): Promise<boolean> {
    const { id, epoch } = this.#job;
    return this.#ask('looking who ended the job', async () => {
      const record = await this.#r.records.read(id, epoch);
      const row = await this.#r.queries.get(id);
      return record?.phase === 'ended' || row?.epoch !== epoch || !isHosted(row.status);
    });
  }

  /** Ends a job that has no exit code to show: not started, or lost. */
  async #fail(reason: EndingReason, found: Failure | null): Promise<RunResult> {
    const { errorCode, errorMessage } = this.#job;
    // What a process wrote down that died of it, or after it, was first.
    const failure = errorCode === null ? found : { code: errorCode, message: errorMessage ?? '' };
    // With what failed, so that a process that goes on from here can still tell it.
    await this.#ending.decide(reason, failure === null ? {} : failurePatch(failure));
    if (this.#sandbox === null) await this.#find();
    await this.#log.open(this.#sandbox);
    this.#log.follow();
    if (failure !== null && errorCode === null) this.#log.system(failure.message);
    await this.#ask('killing what is left', async () => this.#sandbox?.kill());
    // What a lost job had left already is still on its disk.
    return this.#finish(null, failure, reason === 'lost');
  }

  /** The way out of every run: container away, capacity back, artifacts, terminal state, sandbox away. */
  async #finish(
    end: End | null,
    failure: Failure | null = null,
    leavesArtifacts = end !== null,
  ): Promise<RunResult> {
    // guard: gone-before-released
    await this.#ask('removing the container', () => this.#r.inTurn(async () => this.#sandbox?.remove()));
    if (!leavesArtifacts) this.#release();
    else this.#settleCapacity();
    await this.#attendants.close('ended');
    // One that an earlier process began may have been cancelled since.
    if (end?.cancelSeen !== undefined) this.#ending.goOn(end.cancelSeen);
    const collected =
      leavesArtifacts && this.#sandbox !== null && !(await this.#hasLostWrites(this.#sandbox, end))
        ? await this.#collect(this.#sandbox)
        : NOTHING_COLLECTED;
    // Not before: until then they are copied into room that is promised to this job.
    if (leavesArtifacts) this.#r.release(this.#job.id, this.#job.epoch);
    const reason = await this.#ending.decide('exit');
    const logTruncated = end?.logTruncated ?? this.#log.result?.truncated ?? false;
    await this.#ask('writing the state', () =>
      writeEnd(this.#r, this.#job, { reason, end, failure, collected, logTruncated }),
    );
    this.#announce();
    if (this.#sandbox !== null && this.#sandbox.caches.length > 0) {
      const row = await this.#ask('reading how it ended', () => this.#r.queries.get(this.#job.id));
      if (row?.epoch === this.#job.epoch)
        await publishCaches(this.#r, row, this.#sandbox, this.#detach, this.#logger);
    }
    await this.#ask('removing the sandbox', async () => this.#sandbox?.dispose());
    await this.#ask('removing the dispatch record', () =>
      this.#r.records.remove(this.#job.id, this.#job.epoch),
    );
    return { kind: 'done', exitCode: end?.exitCode ?? null };
  }

  #collect(sandbox: Sandbox): Promise<Collected> {
    const cancelled = this.#ending.collecting();
    void this.look();
    return collect(this.#r, this.#job, sandbox, this.#detach, this.#logger, cancelled);
  }

  /** Whether what the job left is not all that it wrote. */
  async #hasLostWrites(sandbox: Sandbox, end: End | null): Promise<boolean> {
    const verdict = end?.verdict ?? (await this.#ask('reading the verdict', () => sandbox.verdict()));
    return verdict.diskError === true;
  }

  get #facts(): Pick<Job, 'imageDigest' | 'ranBy'> {
    return { imageDigest: this.#imageDigest, ranBy: this.#sandbox?.ranBy ?? null };
  }

  #existing(): Sandbox {
    if (this.#sandbox === null) throw new TypeError(`${this.#job.id} has no sandbox`);
    return this.#sandbox;
  }

  /** What the job left takes its disk until it is collected, and the copy lies beside it. */
  #settleCapacity(): void {
    if (!this.#holdsCapacity) return;
    this.#holdsCapacity = false;
    this.#r.settle(this.#job.id, this.#job.epoch);
  }

  #release(): void {
    if (!this.#holdsCapacity) return;
    this.#holdsCapacity = false;
    this.#r.release(this.#job.id, this.#job.epoch);
  }

  #announce(): void {
    this.#r.announce(this.#job.id, null);
  }

  #ask<T>(what: string, work: () => Promise<T>): Promise<T> {
    return persist(what, this.#logger, this.#detach, work);
  }
}

/** When it ended, though nobody watched; by the engine's clock, but not before the start that the job shows. */
const endOf = (container: ContainerState | null, job: Job): number =>
  Math.max(container?.finishedAt ?? Date.now(), job.startedAt ?? 0);
