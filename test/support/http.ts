/** A minimal caller of the HTTP API, on purpose not our own client. */
export interface Answer<T = Record<string, unknown>> {
  readonly status: number;
  readonly headers: Headers;
  readonly body: T;
}

export class Caller {
  readonly url: string;
  readonly token: string;

  constructor(url: string, token: string) {
    this.url = url;
    this.token = token;
  }

  async fetch(path: string, init: RequestInit = {}): Promise<Response> {
    const headers = new Headers(init.headers);
    if (!headers.has('authorization')) headers.set('authorization', `Bearer ${this.token}`);
    return fetch(`${this.url}${path}`, { ...init, headers });
  }

  async json<T = Record<string, unknown>>(method: string, path: string, body?: unknown): Promise<Answer<T>> {
    const response = await this.fetch(path, {
      method,
      ...(body === undefined
        ? {}
        : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
    });
    return { status: response.status, headers: response.headers, body: (await response.json()) as T };
  }

  /** Submits a worker job without network and returns its id. */
  async submit(command: string, more: Record<string, unknown> = {}): Promise<string> {
    const { status, body } = await this.json('POST', '/jobs', {
      type: 'worker',
      command,
      network: 'none',
      cpus: 1,
      memory_gb: 1,
      ...more,
    });
    if (status !== 201) throw new Error(`submit: ${status} ${JSON.stringify(body)}`);
    return String(body['job_id']);
  }

  async job(id: string): Promise<JobAnswer> {
    return (await this.json<JobAnswer>('GET', `/jobs/${id}`)).body;
  }

  /** The job once it is terminal. @throws when it is not by the deadline */
  async ended(id: string, timeoutMs = 60_000): Promise<JobAnswer> {
    return this.reached(id, ['completed', 'failed', 'timed_out', 'cancelled'], timeoutMs);
  }

  /** The job once it shows one of these states. */
  async reached(id: string, states: readonly string[], timeoutMs = 60_000): Promise<JobAnswer> {
    const deadline = performance.now() + timeoutMs;
    let last = '';
    while (performance.now() < deadline) {
      const { status, body } = await this.json<JobAnswer>('GET', `/jobs/${id}?wait=2`);
      if (status === 200 && states.includes(body.status)) return body;
      last = JSON.stringify(body);
    }
    throw new Error(`job ${id} did not become ${states.join(' or ')}; last: ${last}`);
  }

  async output(id: string): Promise<string> {
    const { body } = await this.json<{ output: string }>('GET', `/jobs/${id}/output?tail=10000`);
    return body.output;
  }
}

export interface JobAnswer {
  readonly id: string;
  readonly status: string;
  readonly exit_code: number | null;
  readonly error: string | null;
  readonly error_message: string | null;
  readonly host: string | null;
  readonly usage: { readonly peak_memory_bytes: number | null } | null;
  readonly warnings: readonly string[];
  readonly artifact_warnings: readonly string[];
  readonly [field: string]: unknown;
}

/** The text of log lines without their time stamps. */
export const texts = (output: string): string[] =>
  output
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => line.replace(/^\[\d\d:\d\d:\d\d\.\d{3}\] /, ''));
