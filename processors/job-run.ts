/**
 * One dispatch of one job on this host, from claim to terminal state: prepare, start, follow, collect, finish.
 * Begun anew after a crash it looks at what is there ({@link decide}) and goes on from that point, so every step can
 * be the last one of a process and the first one of the next.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { ContainerState, Verdict } from '../src/containers/runtime.ts';
import { FlashpodsError } from '../src/errors.ts';
import { sandboxName } from '../src/ids.ts';
import type { ArtifactRecord, Job } from '../src/jobs/job.ts';
import { type EndingReason, isHosted } from '../src/jobs/states.ts';
import type { JobPatch } from '../src/jobs/store.ts';
import type { LogCapture } from '../src/logs/log-store.ts';
import type { Logger } from '../src/observability/logger.ts';
import { readUptimeMs } from './host-facts.ts';
import type { DispatchRecord } from './dispatch-records.ts';
import { type Outcome, outcomeOf } from './outcome.ts';
import { persist, settleAll, untilAnswered } from './persist.ts';
import { decide } from './recovery.ts';
import type { SupervisionResources } from './resources.ts';
import { collect, type Collected, type Failure } from './stages/collect.ts';
import { prepare } from './stages/prepare.ts';

/** How a run came out: `done` with its exit code, or `void`: nothing exists and nothing may be started. */
export type RunResult =
  | { readonly kind: 'done'; readonly exitCode: number | null }
  | { readonly kind: 'void'; readonly why: 'no_reservation' | 'fenced' };

/** A newer process of this host goes on with the job. */
class Fenced extends Error {}

const NO_VERDICT: Verdict = {
  usage: { peakMemoryBytes: null, cpuSeconds: null, bytesWritten: null, maxProcesses: null },
  oomKilled: false,
  diskFull: false,
  pidsExhausted: false,
};

export class JobRun {
  readonly #r: SupervisionResources;
  readonly #job: Job;
  readonly #name: string;
  readonly #logger: Logger;
  readonly #actor: string;
  /** Aborted when this process gives the job up for a successor to adopt. */
  readonly #detach: AbortSignal;
  readonly #endingDecided = new AbortController();
  #reason: EndingReason | null;
  #imageDigest: string | null;
  #log: LogCapture | null = null;
  /** From the claim until the container is gone. */
  #holdsCapacity = false;

  constructor(resources: SupervisionResources, job: Job, detach: AbortSignal) {
    this.#r = resources;
    this.#job = job;
    this.#name = sandboxName(job.id, job.epoch);
    this.#logger = resources.logger.child({ job_id: job.id, epoch: job.epoch });
    this.#actor = `host:${resources.host}`;
    this.#detach = detach;
    this.#reason = job.endingReason;
    this.#imageDigest = job.imageDigest;
    if (this.#reason !== null) this.#endingDecided.abort();
  }

  /**
   * Somebody may have changed the row: look whether the job is to end. Never throws.
   * @param known the row of this dispatch as it was read just now; without it the row is read
   */
  async look(known?: Job): Promise<void> {
    if (this.#reason !== null) return;
    const row = known ?? (await this.#r.queries.get(this.#job.id).catch(() => 'unknown' as const));
    if (row === 'unknown' || this.#reason !== null) return;
    // The row has moved on without this host: whatever runs here is nobody's any more.
    if (row?.epoch !== this.#job.epoch || !isHosted(row.status)) this.#noteEnding('lost');
    else if (row.endingReason !== null) this.#noteEnding(row.endingReason);
  }

  /** Whether cpus and memory of the host belong to this run: what a synchronisation tells the semaphore. */
  get holdsCapacity(): boolean {
    return this.#holdsCapacity;
  }

  get job(): Job {
    return this.#job;
  }

  /** @throws the reason of the detach signal when it is aborted: then everything is left for a successor */
  async run(): Promise<RunResult> {
    try {
      return await this.#run();
    } finally {
      await this.#log?.close();
    }
  }

  async #run(): Promise<RunResult> {
    const status = this.#job.status;
    if (status !== 'starting' && status !== 'running')
      throw new Error(`${this.#job.id} is ${status}, which no host holds`);
    const record = await this.#ask('reading the dispatch record', () =>
      this.#r.records.read(this.#job.id, this.#job.epoch),
    );
    if (status === 'starting' && record === null) {
      // Its end was decided, perhaps by a process that died of it: that needs no reservation, which may be gone.
      if (this.#reason !== null) {
        this.#holdsCapacity = true;
        return this.#abandonStart();
      }
      // Nothing of it was ever started, so nothing is lost by waiting for Redis.
      const claimed = await this.#ask('claiming the reservation', () =>
        this.#r.claim(this.#job.id, this.#job.epoch),
      );
      // guard: claim-before-start
      if (claimed === 'no_reservation' || claimed === 'fenced') return { kind: 'void', why: claimed };
      this.#holdsCapacity = true;
      // Nobody can have created anything before the first claim: no need to look.
      if (claimed === 'first') return this.#start('launch');
    }
    const container = await this.#ask('looking at the container', () => this.#r.runtime.inspect(this.#name));
    const action = decide({ status, container, record, bootId: this.#r.bootId });
    this.#logger.info({ action: action.do }, 'taking over a job');
    if (!this.#holdsCapacity) {
      this.#holdsCapacity = true;
      // What exists goes on without the reservation's word: a synchronisation re-enters it.
      void this.#r.claim(this.#job.id, this.#job.epoch).catch(() => undefined);
    }

    switch (action.do) {
      case 'launch':
      case 'start':
        return this.#start(action.do);
      case 'follow':
        this.#log = await this.#openLog();
        this.#log.follow();
        await this.#markRunning(container?.startedAt ?? Date.now());
        return this.#follow(record, container?.startedAt ?? null);
      case 'settle':
        this.#log = await this.#openLog();
        this.#log.follow();
        await this.#markRunning(container?.startedAt ?? Date.now());
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

  async #start(from: 'launch' | 'start'): Promise<RunResult> {
    const deadline = AbortSignal.timeout(this.#r.config.startTimeoutSeconds * 1000);
    const stop = AbortSignal.any([this.#detach, deadline, this.#endingDecided.signal]);
    try {
      const opening = this.#openLog().then((log) => (this.#log = log));
      const tell = (line: string): void =>
        void opening.then((log) => log.system(line)).catch(() => undefined);
      if (from === 'launch') for (const line of this.#pullLines()) tell(line);
      const [, digest] = await settleAll([
        opening,
        from === 'launch'
          ? prepare(this.#r, this.#job, { stop, tell, logger: this.#logger })
          : this.#imageDigest,
      ]);
      this.#imageDigest = digest;
      stop.throwIfAborted();
      // Before the start: the first line is often there before Podman has answered.
      this.#log?.follow();
      await untilAnswered(this.#logger, stop, () =>
        this.#r.inTurn(async () => {
          // A process that slept since its claim may have a successor that has run the job already.
          if (!(await this.#r.owns())) throw new Fenced();
          // Or its host has been given up meanwhile, and the job with it.
          // guard: look-before-start
          await this.look();
          stop.throwIfAborted();
          await this.#r.runtime.start(this.#name);
        }),
      );
    } catch (error) {
      if (error instanceof Fenced) return { kind: 'void', why: 'fenced' };
      this.#detach.throwIfAborted();
      if (await this.#endedElsewhere()) return { kind: 'void', why: 'fenced' };
      if (this.#reason !== null) return this.#abandonStart();
      const failure = deadline.aborted
        ? {
            code: 'container_start_failed',
            message: `The start took longer than ${this.#r.config.startTimeoutSeconds} seconds.`,
          }
        : error instanceof FlashpodsError
          ? { code: error.code, message: error.message }
          : { code: 'container_start_failed', message: 'The container could not be prepared on its host.' };
      this.#logger.error({ err: error, code: failure.code }, 'the job could not be started');
      return this.#fail('start_failed', failure);
    }
    const startedAt = Date.now();
    const started: DispatchRecord = {
      jobId: this.#job.id,
      epoch: this.#job.epoch,
      phase: 'started',
      bootId: this.#r.bootId,
      startedAt,
      startedUptimeMs: readUptimeMs(),
    };
    // Timeout, cancellation and exit hold from now on, also while disk or database take nothing.
    const recorded = Promise.all([
      this.#ask('writing the dispatch record', () => this.#r.records.write(started)),
      this.#markRunning(startedAt),
    ]);
    return this.#follow(started, startedAt, recorded);
  }

  /** The pull that this job waited for in the queue, as it would stand in its log had it been done here. */
  #pullLines(): readonly string[] {
    const pulled = this.#r.pulled(this.#job.image);
    return pulled && pulled.endedAt >= this.#job.createdAt ? pulled.lines : [];
  }

  /** starting → running, unless an ending was decided meanwhile: such a job never shows `running`. */
  async #markRunning(startedAt: number): Promise<void> {
    if (this.#job.status === 'running') return;
    const row = await this.#ask('writing the state', () =>
      this.#r.store.transition(this.#job.id, {
        from: ['starting'],
        to: 'running',
        epoch: this.#job.epoch,
        // guard: cancelled-first
        endingReason: null,
        patch: { startedAt, imageDigest: this.#imageDigest },
        actor: this.#actor,
      }),
    );
    this.#announce();
    if (row) this.#r.started(row);
    else await this.look();
  }

  /** @param recorded settled before the end of the job is written down: its start comes first */
  async #follow(
    record: DispatchRecord | null,
    startedAt: number | null,
    recorded: Promise<unknown> = Promise.resolve(),
  ): Promise<RunResult> {
    const over = new AbortController();
    const timer = setTimeout(
      () => void this.#decide('timeout').catch(() => undefined),
      this.#remainingMs(record, startedAt),
    );
    const ending = this.#enforceEnding(over.signal);
    let state: ContainerState | null;
    try {
      [state] = await Promise.all([
        this.#ask('waiting for the exit', () => this.#r.runtime.waitForExit(this.#name, this.#detach)),
        recorded,
      ]);
    } finally {
      clearTimeout(timer);
      over.abort();
      await ending;
    }
    return this.#settle(state);
  }

  /** Milliseconds until the timeout: by uptime where this boot started the job, so that no clock that is set matters. */
  #remainingMs(record: DispatchRecord | null, startedAt: number | null): number {
    const limitMs = this.#job.timeoutMinutes * this.#r.minuteMs;
    const elapsedMs =
      // guard: uptime
      record?.startedUptimeMs !== undefined && record.bootId === this.#r.bootId
        ? readUptimeMs() - record.startedUptimeMs
        : Date.now() - (this.#job.startedAt ?? startedAt ?? Date.now());
    return Math.min(Math.max(0, limitMs - elapsedMs), 2 ** 31 - 1);
  }

  /** Once an ending is decided: SIGTERM to all of the job, the grace, then SIGKILL. Never throws. */
  async #enforceEnding(over: AbortSignal): Promise<void> {
    const stop = AbortSignal.any([over, this.#detach]);
    try {
      await aborted(this.#endingDecided.signal, stop);
      await persist('ending the job', this.#logger, stop, () => this.#r.runtime.terminate(this.#name));
      await delay(this.#r.config.graceSeconds * 1000, undefined, { signal: stop });
      await persist('killing the job', this.#logger, stop, () => this.#r.runtime.kill(this.#name));
    } catch (error) {
      if (!stop.aborted) this.#logger.error({ err: error }, 'ending the job failed');
    }
  }

  /** The process is gone: log to its end, verdict, record, container away, capacity back; then {@link #finish}. */
  async #settle(state: ContainerState | null, endedAt = Date.now()): Promise<RunResult> {
    if (state === null) {
      if (await this.#endedElsewhere()) return { kind: 'void', why: 'fenced' };
      return this.#fail('lost', {
        code: 'container_lost_on_recovery',
        message: 'The container vanished while the job ran.',
      });
    }
    await this.#decide('exit', { endedAt });
    const [verdict, log] = await Promise.all([
      this.#ask('reading the verdict', () => this.#r.runtime.verdict(this.#name)),
      this.#ask('finishing the log', () => this.#log?.finish() ?? Promise.resolve(null)),
    ]);
    const end = {
      exitCode: state.exitCode,
      endedAt,
      verdict,
      logTruncated: log?.truncated ?? false,
      logIncomplete: log?.incomplete ?? false,
    };
    await this.#ask('writing the dispatch record', () =>
      this.#r.records.write({
        jobId: this.#job.id,
        epoch: this.#job.epoch,
        phase: 'ended',
        bootId: this.#r.bootId,
        end,
      }),
    );
    return this.#finish(end);
  }

  /** Whether another process of this host has settled the job: it says so in the record before the container goes. */
  #endedElsewhere(): Promise<boolean> {
    return this.#ask('looking who ended the job', async () => {
      const record = await this.#r.records.read(this.#job.id, this.#job.epoch);
      const row = await this.#r.queries.get(this.#job.id);
      return record?.phase === 'ended' || row?.epoch !== this.#job.epoch || !isHosted(row.status);
    });
  }

  async #finish(end: NonNullable<DispatchRecord['end']> | null): Promise<RunResult> {
    // guard: gone-before-released
    await this.#ask('removing the container', () => this.#r.inTurn(() => this.#r.runtime.remove(this.#name)));
    this.#release();
    const collected = await collect(this.#r, this.#job, this.#detach, this.#logger);
    return this.#conclude(end, collected);
  }

  async #conclude(end: DispatchRecord['end'] | null, collected: Collected): Promise<RunResult> {
    const reason = await this.#decide('exit');
    const verdict = end?.verdict ?? NO_VERDICT;
    const outcome = outcomeOf(reason, end?.exitCode ?? null, verdict, collected.failure);
    const incomplete = end?.logIncomplete
      ? ['The disk of the host was full: the end of the log is missing.']
      : [];
    await this.#toTerminal(
      { ...outcome, warnings: [...outcome.warnings, ...incomplete] },
      {
        exitCode: end?.exitCode ?? null,
        usage: verdict.usage,
        logTruncated: end?.logTruncated ?? false,
        artifacts: collected.artifacts,
        artifactWarnings: collected.warnings,
        endedAt: end?.endedAt ?? Date.now(),
      },
    );
    return { kind: 'done', exitCode: end?.exitCode ?? null };
  }

  /** An ending overtook the start: nothing of it may run, and it never shows `running`. */
  async #abandonStart(): Promise<RunResult> {
    return this.#fail(this.#reason ?? 'cancel', null);
  }

  /** Ends a job that has no exit code to show: not started, or lost. */
  async #fail(reason: EndingReason, found: Failure | null): Promise<RunResult> {
    const { error, errorMessage } = this.#job;
    // What a process wrote down that died of it, or after it, was first.
    const failure = error === null ? found : { code: error, message: errorMessage ?? '' };
    // With what failed, so that a process that goes on from here can still tell it.
    const decided = await this.#decide(
      reason,
      failure === null ? {} : { error: failure.code, errorMessage: failure.message },
    );
    this.#log ??= await this.#openLog();
    this.#log.follow();
    if (failure !== null && error === null) this.#log.system(failure.message);
    await this.#ask('killing what is left', () => this.#r.runtime.kill(this.#name));
    await this.#ask('removing the container', () => this.#r.inTurn(() => this.#r.runtime.remove(this.#name)));
    this.#release();
    const log = await this.#ask('finishing the log', () => this.#log?.finish() ?? Promise.resolve(null));
    // What a lost job had left already is still on its disk.
    const { artifacts, warnings } =
      reason === 'lost'
        ? await collect(this.#r, this.#job, this.#detach, this.#logger)
        : { artifacts: [], warnings: [] };
    await this.#toTerminal(outcomeOf(decided, null, NO_VERDICT, failure), {
      exitCode: null,
      usage: null,
      logTruncated: log?.truncated ?? false,
      artifacts,
      artifactWarnings: warnings,
      endedAt: Date.now(),
    });
    return { kind: 'done', exitCode: null };
  }

  async #toTerminal(
    outcome: Outcome,
    facts: Pick<Job, 'exitCode' | 'usage' | 'logTruncated' | 'artifactWarnings' | 'endedAt'> & {
      artifacts: readonly ArtifactRecord[];
    },
  ): Promise<void> {
    const { artifacts, ...columns } = facts;
    await this.#ask('writing the state', async () => {
      const row = await this.#r.queries.get(this.#job.id);
      // Written before a crash that came before the clean-up below.
      if (!row || row.epoch !== this.#job.epoch || !isHosted(row.status)) return;
      const { to, error, errorMessage, warnings } = outcome;
      await this.#r.store.transition(this.#job.id, {
        // A job that ended while it was starting never shows `running`, whatever became of its process.
        from: [row.status],
        to: row.status === 'starting' && to !== 'cancelled' ? 'failed' : to,
        epoch: this.#job.epoch,
        patch: { ...columns, error, errorMessage, warnings, completedAt: Date.now() },
        artifacts,
        actor: this.#actor,
        payload: { exit_code: facts.exitCode, error },
      });
    });
    this.#announce();
    await this.#ask('removing the sandbox', () => this.#r.runtime.dispose(this.#name));
    await this.#ask('removing the dispatch record', () =>
      this.#r.records.remove(this.#job.id, this.#job.epoch),
    );
  }

  /** The first reason wins, across processes. @returns the one in force */
  async #decide(
    reason: EndingReason,
    patch: Pick<JobPatch, 'endedAt' | 'error' | 'errorMessage'> = {},
  ): Promise<EndingReason> {
    if (this.#reason !== null) return this.#reason;
    const inForce = await this.#ask('deciding the ending', async () => {
      const first = await this.#r.store.decideEnding(this.#job.id, reason, this.#actor, {
        epoch: this.#job.epoch,
        patch,
      });
      return first ? reason : ((await this.#r.queries.get(this.#job.id))?.endingReason ?? reason);
    });
    this.#noteEnding(inForce);
    return inForce;
  }

  #noteEnding(reason: EndingReason): void {
    this.#reason ??= reason;
    this.#endingDecided.abort();
  }

  #release(): void {
    if (!this.#holdsCapacity) return;
    this.#holdsCapacity = false;
    this.#r.release(this.#job.id, this.#job.epoch);
  }

  #announce(): void {
    this.#r.announce(this.#job.id, null);
  }

  #openLog(): Promise<LogCapture> {
    return this.#ask('opening the log', () =>
      this.#r.logs.capture({
        jobId: this.#job.id,
        spoolPath: this.#r.runtime.spoolPath(this.#name),
        maxBytes: this.#r.config.logMaxMb * 2 ** 20,
        onTrouble: (error) => this.#logger.warn({ err: error }, 'the log can not be written at the moment'),
      }),
    );
  }

  #ask<T>(what: string, work: () => Promise<T>): Promise<T> {
    return persist(what, this.#logger, this.#detach, work);
  }
}

/** When it ended, though nobody watched; by the engine's clock, but not before the start that the job shows. */
const endOf = (container: ContainerState | null, job: Job): number =>
  Math.max(container?.finishedAt ?? Date.now(), job.startedAt ?? 0);

/** Resolves when `signal` is aborted. @throws when `stop` is aborted first */
function aborted(signal: AbortSignal, stop: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const give = (): void => reject(new Error('stopped', { cause: stop.reason }));
    if (signal.aborted) return resolve();
    if (stop.aborted) return give();
    signal.addEventListener('abort', () => resolve(), { once: true });
    stop.addEventListener('abort', give, { once: true });
  });
}
