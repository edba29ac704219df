import { createHash } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import { isTerminal, type JobState } from '../../src/jobs/states.ts';
import { failure, json, type Seen, WireServer } from '../client/wire-server.ts';
import { isWanted } from './far-server.ts';

export const JOB = 'job_aaaaaaaaaaaa';
export const UPLOAD = 'upload_aaaaaaaaaaaa';

/** One job on the far end of the wire that does what the test says, when it says so. */
export class ScriptedJob {
  job: Record<string, unknown> & { status: JobState };
  artifacts: Record<string, string> = {};
  /** The images that have any program that is asked for. */
  images: readonly string[] = [];
  /** More jobs of the list. */
  others: object[] = [];
  /** A request to make a job is answered with 503. */
  isBusy = false;
  agentImage: string | null = 'localhost/team/agent:1';
  /** What a cancellation does; it is answered with 200 in any case. */
  onCancel: () => void = () => this.end('cancelled');
  /** Answers the creation of a job when the test calls `answer`. */
  onCreate: (answer: () => void) => void = (answer) => answer();
  readonly server: WireServer;
  readonly #lines: object[] = [];
  readonly #waiting = new Set<() => void>();

  constructor() {
    this.job = {
      id: JOB,
      type: 'worker',
      status: 'queued',
      command: 'true',
      cpus: 2,
      memory_gb: 4,
      timeout_minutes: 30,
      labels: {},
      created_at: new Date().toISOString(),
      exit_code: null,
      host: null,
      error: null,
    };
    this.server = new WireServer((seen, response) => this.#answer(seen, response));
  }

  requests(method: string, prefix: string): Seen[] {
    return this.server.seen.filter((seen) => seen.method === method && seen.path.startsWith(prefix));
  }

  print(text: string, stream = 'stdout', more: object = {}): void {
    const seq = this.#lines.length + 1;
    this.#lines.push({ seq, time: '2026-01-01T10:20:30.456Z', stream, text, ...more });
  }

  become(status: JobState, change: object = {}): void {
    this.job = { ...this.job, ...change, status };
    for (const wake of this.#waiting) wake();
    this.#waiting.clear();
  }

  end(status: JobState, exitCode: number | null = null, change: object = {}): void {
    this.become(status, { exit_code: exitCode, duration_seconds: 1.5, ...change });
  }

  #answer({ method, path }: Seen, response: ServerResponse): void {
    const url = new URL(path, 'http://x');
    const rest = url.pathname.slice(`/jobs/${JOB}`.length);
    if (url.pathname.startsWith('/uploads')) {
      const isSent = url.pathname.endsWith('/finalize');
      json(response, isSent ? 200 : 201, { upload_id: UPLOAD, state: isSent ? 'finalized' : 'uploading' });
    } else if (url.pathname === '/job-checks') json(response, 200, { type: 'worker' });
    else if (method === 'POST' && this.isBusy) json(response, 503, failure('service_unavailable'));
    else if (method === 'POST')
      this.onCreate(() => json(response, 201, { job_id: JOB, status: 'queued', created: true }));
    else if (method === 'DELETE') {
      json(response, 200, { job_id: JOB, status: 'cancelled' });
      this.onCancel();
    } else if (url.pathname === '/images') json(response, 200, this.#imageList());
    else if (url.pathname === '/jobs') {
      const jobs = isWanted(url.searchParams.get('status'), this.job.status)
        ? [this.job, ...this.others]
        : [];
      json(response, 200, { jobs, total: jobs.length, next_cursor: null });
    } else if (!url.pathname.startsWith(`/jobs/${JOB}`)) json(response, 404, failure('job_not_found'));
    else if (rest === '/output') this.#output(url.searchParams, response);
    else if (rest === '/artifacts') json(response, 200, this.#artifactList());
    else if (rest.startsWith('/artifacts/'))
      response.end(this.artifacts[decodeURIComponent(rest.slice('/artifacts/'.length))]);
    else if (url.searchParams.has('wait') && !isTerminal(this.job.status)) {
      this.#waiting.add(() => json(response, 200, this.job));
    } else json(response, 200, this.job);
  }

  #output(query: URLSearchParams, response: ServerResponse): void {
    if (this.#lines.length === 0) {
      json(response, 404, failure('logs_not_available'));
      return;
    }
    // An offset is the number of lines before it.
    const [tail, line] = [query.get('tail'), query.get('from_line')];
    const offset =
      line !== null
        ? Number(line) - 1
        : tail === null
          ? Number(query.get('offset'))
          : Math.max(0, this.#lines.length - Number(tail));
    const end = Math.min(this.#lines.length, offset + Number(query.get('head') ?? Infinity));
    response.writeHead(200, { 'x-next-offset': String(end), 'x-total-bytes': String(this.#lines.length) });
    response.end(
      this.#lines
        .slice(offset, end)
        .map((line) => `${JSON.stringify(line)}\n`)
        .join(''),
    );
  }

  #imageList(): object {
    return {
      images: this.images.map((name) => ({
        name,
        reference: `localhost/flashpods/${name}:latest`,
        digest: 'sha256:0',
        size_bytes: 1_000_000,
        summary: `what is in ${name}`,
        programs: { gcc: '12.2.0' },
        shared: true,
        hosts: ['here'],
      })),
      buildable: [{ name: 'go', summary: 'Go', programs: ['go'] }],
      defaults: { worker: 'base', agent: this.agentImage },
    };
  }

  #artifactList(): object {
    const artifacts = Object.entries(this.artifacts).map(([name, content]) => ({
      name,
      size_bytes: Buffer.byteLength(content),
      sha256: createHash('sha256').update(content).digest('hex'),
      created_at: new Date().toISOString(),
    }));
    return { artifacts, total_size_bytes: 0, expires_at: null, copy_in_progress: false };
  }
}
