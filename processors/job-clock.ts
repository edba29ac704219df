/** When a job's time begins, and that its row says `running` from then on: before its container, if packages are installed. */
import type { Job } from '../src/jobs/job.ts';
import type { Timeout } from './attendants/timeout.ts';
import type { DispatchRecord, Since } from './dispatch-records.ts';
import { readUptimeMs } from './host-facts.ts';
import type { SupervisionResources } from './resources.ts';

export interface JobClockOptions {
  readonly resources: Pick<SupervisionResources, 'lifecycle' | 'records' | 'bootId' | 'started' | 'announce'>;
  readonly job: Job;
  readonly actor: string;
  readonly timeout: Timeout;
  /** Tries until it succeeds. */
  readonly ask: <T>(what: string, work: () => Promise<T>) => Promise<T>;
  /** The row is not what it was. */
  readonly look: () => Promise<void>;
}

/** What is known of the container. */
type Facts = Pick<Job, 'imageDigest' | 'ranBy'>;

export class JobClock {
  readonly #o: JobClockOptions;
  #since: Since | null = null;
  #isRunning: boolean;

  constructor(options: JobClockOptions) {
    this.#o = options;
    this.#isRunning = options.job.status === 'running';
  }

  /** Null: the job's time begins with its container. */
  get since(): Since | null {
    return this.#since;
  }

  /** The job runs though its command does not yet: what is done now counts against its timeout. */
  async begin(facts: Facts): Promise<void> {
    if (this.#since !== null) return;
    const { resources, job, ask, timeout } = this.#o;
    const startedAt = Date.now();
    this.#since = { startedAt, startedUptimeMs: readUptimeMs() };
    const { bootId, records } = resources;
    const { id: jobId, epoch } = job;
    const record: DispatchRecord = { jobId, epoch, phase: 'installing', bootId, ...this.#since };
    await ask('writing the dispatch record', () => records.write(record));
    await this.running(startedAt, facts);
    timeout.begin({ record, startedAt });
  }

  /** The same of a job whose time began in an earlier process, before there was a container. */
  async resume(record: DispatchRecord | null, facts: Facts): Promise<void> {
    if (record?.startedAt === undefined) return;
    const { startedAt, startedUptimeMs } = record;
    // Of another boot only the wall clock is left.
    const isOfThisBoot = record.bootId === this.#o.resources.bootId && startedUptimeMs !== undefined;
    this.#since = isOfThisBoot ? { startedAt, startedUptimeMs } : { startedAt };
    await this.running(startedAt, facts);
    this.#o.timeout.begin({ record, startedAt });
  }

  /** starting → running, unless an ending was decided meanwhile: such a job never shows `running`. */
  async running(startedAt: number, facts: Facts): Promise<void> {
    const { resources, job, actor, ask, look } = this.#o;
    const { lifecycle, announce, started } = resources;
    if (this.#isRunning) {
      if (facts.ranBy !== null && job.ranBy === null)
        await ask('writing what runs', () => lifecycle.launched(job, { ranBy: facts.ranBy }));
      return;
    }
    const row = await ask('writing the state', () => lifecycle.started(job, { startedAt, ...facts }, actor));
    this.#isRunning = row !== null;
    announce(job.id, null);
    if (row) started(row);
    else await look();
  }
}
