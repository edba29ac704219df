/**
 * The life of a job: each step is one function with the states that it leads out of, what it writes into the row, and
 * the one event that it writes into the journal (see `events.ts`). Row and event are one transaction. A step that does
 * not apply any more changes nothing and says so: of rivals, exactly one makes it.
 */
import type { ErrorCode } from '../errors.ts';
import type { EventPayloads } from './events.ts';
import type { ArtifactRecord, Job } from './job.ts';
import { type EndingReason, HOSTED_STATES, type JobState, WAITING_STATES } from './states.ts';
import type { CreateOptions, JobPatch, JobStore, NewJob } from './store.ts';

/** One dispatch of a job. */
export type Dispatch = Pick<Job, 'id' | 'epoch'>;

/** What a host writes of a job that it has ended. */
export interface JobResult {
  readonly to: 'completed' | 'failed' | 'timed_out' | 'cancelled';
  readonly facts: Required<
    Pick<
      JobPatch,
      | 'error'
      | 'errorCode'
      | 'errorMessage'
      | 'exitCode'
      | 'usage'
      | 'warnings'
      | 'artifactWarnings'
      | 'errorLines'
      | 'logTruncated'
      | 'endedAt'
    >
  >;
  readonly artifacts: readonly ArtifactRecord[];
}

/** What could not be done for a job, for its caller. */
export interface Failure {
  readonly code: ErrorCode;
  readonly message: string;
}

/** How a failure stands in a job's row. */
export const failurePatch = ({ code, message }: Failure) => ({
  error: code,
  errorCode: code,
  errorMessage: message,
});

export interface StartFailure {
  readonly reason: EventPayloads['failed_to_start']['reason'];
  readonly errorMessage: string;
  /** The last reason for which it waited. */
  readonly waitingReason?: string | undefined;
}

export class JobLifecycle {
  readonly #store: JobStore;

  constructor(store: JobStore) {
    this.#store = store;
  }

  /** A new job, pending; see {@link JobStore.create}. */
  accepted(job: NewJob, options: CreateOptions = {}): Promise<{ job: Job; created: boolean }> {
    return this.#store.create(job, options);
  }

  /** pending → queued. */
  queued(id: string, actor: string): Promise<Job | null> {
    return this.#store.transition(id, {
      from: ['pending'],
      to: 'queued',
      endingReason: null,
      patch: { queuedAt: Date.now() },
      actor,
      event: { type: 'queued', payload: {} },
    });
  }

  /** Writes why a job waits; see {@link JobStore.noteWaiting}. */
  waits(id: string, epoch: number, reason: string, why: string | null): Promise<boolean> {
    return this.#store.noteWaiting(id, epoch, reason, why);
  }

  /**
   * queued → starting, on a host and under the next epoch.
   * @param waiting the epoch with which it waited @param diskMib what it gets of the host's disk; null: not bounded
   */
  taken(waiting: Dispatch, host: string, actor: string, diskMib: number | null = null): Promise<Job | null> {
    return this.#store.transition(waiting.id, {
      from: ['queued'],
      to: 'starting',
      // guard: taken-under-epoch
      epoch: waiting.epoch,
      endingReason: null,
      patch: { host, diskMib, epoch: waiting.epoch + 1, startingAt: Date.now(), waitingReason: null },
      actor,
      event: { type: 'taken', payload: { host } },
    });
  }

  /** starting → queued, unless its end was decided: nothing of the dispatch exists, and another host may have the job. */
  givenBack(
    dispatch: Dispatch,
    reason: EventPayloads['given_back']['reason'],
    actor: string,
  ): Promise<Job | null> {
    return this.#store.transition(dispatch.id, {
      from: ['starting'],
      to: 'queued',
      epoch: dispatch.epoch,
      endingReason: null,
      patch: { host: null, diskMib: null, startingAt: null },
      actor,
      event: { type: 'given_back', payload: { reason } },
    });
  }

  /** starting → running, unless an ending was decided meanwhile: such a job never shows `running`. */
  started(
    dispatch: Dispatch,
    facts: Pick<Job, 'startedAt' | 'imageDigest' | 'ranBy'>,
    actor: string,
  ): Promise<Job | null> {
    return this.#store.transition(dispatch.id, {
      from: ['starting'],
      to: 'running',
      epoch: dispatch.epoch,
      // guard: cancelled-first
      endingReason: null,
      patch: facts,
      actor,
      event: { type: 'started', payload: {} },
    });
  }

  /** A job that was running before its container was, because its packages were installed: what is known now. */
  launched({ id, epoch }: Dispatch, facts: Pick<Job, 'ranBy'>): Promise<boolean> {
    return this.#store.patch(id, epoch, facts);
  }

  /** The container of a job that is to end for another reason than its exit has ended: what it left is collected now. */
  containerEnded({ id, epoch }: Dispatch, endedAt: number): Promise<boolean> {
    return this.#store.patch(id, epoch, { endedAt });
  }

  /** Writes why a job that a host holds ends. @returns whether this call was the first */
  endingDecided(
    id: string,
    reason: EndingReason,
    actor: string,
    options: {
      epoch?: number;
      patch?: Pick<JobPatch, 'endedAt' | 'error' | 'errorCode' | 'errorMessage'>;
    } = {},
  ): Promise<boolean> {
    return this.#store.decideEnding(id, reason, actor, options);
  }

  /**
   * Its host is done with it. A job that ended while it was starting never shows `running`, and fails, no
   * matter what became of its process. @param row as it is now
   */
  ended(row: Dispatch & Pick<Job, 'status'>, result: JobResult, actor: string): Promise<Job | null> {
    const { to, facts, artifacts } = result;
    return this.#store.transition(row.id, {
      from: [row.status],
      to: row.status === 'starting' && to !== 'cancelled' ? 'failed' : to,
      epoch: row.epoch,
      patch: { ...facts, completedAt: Date.now() },
      artifacts,
      actor,
      event: { type: 'ended', payload: { exit_code: facts.exitCode, error: facts.error } },
    });
  }

  /** A job that waits is cancelled. */
  cancelled(id: string, actor: string): Promise<Job | null> {
    return this.#store.transition(id, {
      from: WAITING_STATES,
      to: 'cancelled',
      endingReason: null,
      patch: { completedAt: Date.now() },
      actor,
      event: { type: 'cancelled', payload: { reason: 'cancel' } },
    });
  }

  /** A cancelled job of which nothing is left on its host, or whose host is gone. */
  cancelledUnrun(
    dispatch: Dispatch,
    actor: string,
    from: readonly JobState[] = HOSTED_STATES,
  ): Promise<Job | null> {
    return this.#store.transition(dispatch.id, {
      from,
      to: 'cancelled',
      epoch: dispatch.epoch,
      endingReason: ['cancel'],
      patch: { completedAt: Date.now() },
      actor,
      event: { type: 'cancelled', payload: { reason: 'cancel' } },
    });
  }

  /** A job that waits fails. @param epoch only while it waits with this one in the queue; null: in any case */
  failedToStart(
    id: string,
    epoch: number | null,
    { reason, errorMessage, waitingReason }: StartFailure,
    actor: string,
  ): Promise<Job | null> {
    return this.#store.transition(id, {
      from: epoch === null ? WAITING_STATES : ['queued'],
      to: 'failed',
      ...(epoch === null ? {} : { epoch }),
      endingReason: null,
      patch: { error: reason, errorCode: reason, errorMessage, completedAt: Date.now(), waitingReason: null },
      actor,
      event: {
        type: 'failed_to_start',
        payload: { reason, ...(waitingReason === undefined ? {} : { waiting_reason: waitingReason }) },
      },
    });
  }

  /** A job that its host takes along. */
  lost(dispatch: Dispatch, failure: Failure, actor: string): Promise<Job | null> {
    return this.#store.transition(dispatch.id, {
      from: HOSTED_STATES,
      to: 'failed',
      epoch: dispatch.epoch,
      patch: { ...failurePatch(failure), completedAt: Date.now() },
      actor,
      event: { type: 'lost', payload: { error: failure.code } },
    });
  }

  /** The last files of an ended job are about to be deleted. */
  cleaning({ id, status }: Job, actor: string): Promise<Job | null> {
    return this.#store.transition(id, {
      from: [status],
      to: 'cleaning',
      actor,
      event: { type: 'cleaning', payload: {} },
    });
  }

  /** Records that files of the job are deleted, after they are. */
  filesDeleted({ id, epoch }: Dispatch, what: 'logs' | 'artifacts'): Promise<boolean> {
    const at = Date.now();
    return this.#store.patch(id, epoch, what === 'logs' ? { logsDeletedAt: at } : { artifactsDeletedAt: at });
  }

  /** Something that its owner should know came after the end of the job. */
  warned({ id, epoch, warnings }: Dispatch & Pick<Job, 'warnings'>, warning: string): Promise<boolean> {
    return this.#store.patch(id, epoch, { warnings: [...warnings, warning] });
  }

  /** Something of the job's log is left out, while it runs. */
  logTruncated({ id, epoch }: Dispatch): Promise<boolean> {
    return this.#store.patch(id, epoch, { logTruncated: true });
  }

  /** Everything of the job is deleted. */
  cleaned(id: string, actor: string): Promise<Job | null> {
    return this.#store.transition(id, {
      from: ['cleaning'],
      to: 'cleaned',
      actor,
      event: { type: 'cleaned', payload: {} },
    });
  }
}
