import type { ServerResponse } from 'node:http';
import { failure, json, type Seen, WireServer } from '../client/wire-server.ts';

export interface FarJob {
  readonly id: string;
  readonly status: string;
  readonly command: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly queue_position?: number;
  readonly waiting_reason?: string;
  readonly host?: string;
}

/** The far end of commands that look at all jobs: what it holds is the test's to say. */
export class FarServer {
  jobs: FarJob[] = [];
  artifacts: string[] = [];
  /** Everything is answered so, when it is set. */
  broken: ((response: ServerResponse) => void) | null = null;
  readonly wire = new WireServer((seen, response) => this.#answer(seen, response));

  cancelled(): string[] {
    return this.wire.seen
      .filter(({ method }) => method === 'DELETE')
      .map(({ path }) => path.split('/')[2] ?? '');
  }

  #answer({ method, path }: Seen, response: ServerResponse): void {
    const url = new URL(path, 'http://x');
    const chosen = this.jobs.filter(({ status }) => isWanted(url.searchParams.get('status'), status));
    if (this.broken) this.broken(response);
    else if (method === 'DELETE') json(response, 200, { job_id: path.split('/')[2] });
    else if (url.pathname === '/jobs')
      json(response, 200, { jobs: chosen.map(whole), total: chosen.length, next_cursor: null });
    else if (url.pathname === '/capacity') json(response, 200, this.#capacity());
    else if (url.pathname.endsWith('/artifacts'))
      json(response, 200, { artifacts: this.artifacts.map((name) => ({ name, size_bytes: 7 })) });
    else json(response, 404, failure('job_not_found'));
  }

  #capacity(): object {
    const running = this.jobs.filter(({ status }) => status === 'running').length;
    const waiting = this.jobs.filter(({ status }) => status === 'queued').length;
    const host = (name: string, used: number) => ({
      name,
      state: 'up',
      capacity: { cpus: 8, memory_gb: 32 },
      free: { cpus: 8 - used, memory_gb: 32 - 4 * used },
      running_jobs: used,
    });
    return {
      hosts: [host('alpha', running), host('beta', 0)],
      queue: { length: waiting, oldest_wait_seconds: waiting === 0 ? 0 : 75 },
    };
  }
}

const GROUPS: Readonly<Record<string, readonly string[]>> = {
  active: ['pending', 'queued', 'starting', 'running'],
  waiting: ['pending', 'queued'],
  hosted: ['starting', 'running'],
};

/** Whether `?status=` is meant to list a job in this state. */
export const isWanted = (wanted: string | null, status: string): boolean =>
  wanted === null || wanted === 'all' || wanted === status || GROUPS[wanted]?.includes(status) === true;

const whole = (job: FarJob): object => ({
  type: 'worker',
  cpus: 1,
  memory_gb: 4,
  timeout_minutes: 30,
  created_at: new Date(Date.now() - 90_000).toISOString(),
  started_at: job.status === 'queued' ? null : new Date(Date.now() - 60_000).toISOString(),
  ...job,
});
