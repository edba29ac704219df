/** Asks the server with a socket and nothing else: Node's HTTP client alone takes as long to load as Node itself. */
import type { Socket } from 'node:net';
import { type Connection, discoverConnection } from '../../client/connection.ts';
import { ClientError } from '../../client/client-error.ts';
import type { ClientEnvironment } from '../../client/environment.ts';
import { shorten, sanitize } from '../terminal.ts';
import type { Candidate, ServerValues } from './complete.ts';

/** `--url` and its like, as they stand on the line that is completed. */
export type ServerFlags = Readonly<Record<string, string | undefined>>;

/** Somebody waits with a finger on the key. */
const PATIENCE_MS = 1_000;
const JOBS = 50;
const ID_PREFIX = 'job_';
const COMMAND_WIDTH = 60;

interface JobFields {
  readonly id: string;
  readonly status: string;
  readonly command?: string | null;
  readonly task?: string | null;
  readonly labels?: Readonly<Record<string, string>>;
}

/** The jobs that a command takes. */
const jobsFor = (command: string): string =>
  `/jobs?status=${['kill', 'wait'].includes(command) ? 'active' : 'all'}&limit=${JOBS}`;

/** Commands that take jobs, as far as they are asked ahead for. */
export const ON_JOBS: readonly string[] = ['artifacts', 'kill', 'logs', 'rerun', 'wait'];

/** A server that may be asked ahead: one question, whose answer waits here for whoever asks the same. */
export class ServerAhead {
  readonly #env: ClientEnvironment;
  #expected: { path: string; answer: Promise<unknown> } | undefined;

  constructor(env: ClientEnvironment) {
    this.#env = env;
  }

  /** Asks for the jobs if that is what these words may come to. */
  expect(words: readonly string[]): void {
    const [command = '', ...others] = words;
    const last = others.at(-1);
    if (last === undefined || !ON_JOBS.includes(command)) return;
    // Options may name another server.
    if (words.some((word) => word.startsWith('-'))) return;
    if (!last.startsWith(ID_PREFIX) && !ID_PREFIX.startsWith(last)) return;
    const path = jobsFor(command);
    const answer = get(path, {}, this.#env);
    answer.catch(() => undefined); // whoever asks gets it
    this.#expected = { path, answer };
  }

  /** What the server says that the flags name. */
  at(flags: ServerFlags): ServerValues {
    return serverValues((path) => {
      const expected = Object.keys(flags).length === 0 && this.#expected;
      return expected && expected.path === path ? expected.answer : get(path, flags, this.#env);
    });
  }
}

function serverValues(ask: (path: string) => Promise<unknown>): ServerValues {
  const listJobs = async (path: string): Promise<readonly JobFields[]> =>
    ((await ask(path)) as { jobs?: readonly JobFields[] } | null)?.jobs ?? [];
  return {
    jobs: async (command) =>
      (await listJobs(jobsFor(command))).map(({ id, status: state, command: line, task }) => ({
        value: id,
        description: `${state}: ${shorten(line ?? task ?? '', COMMAND_WIDTH)}`,
      })),
    labels: async () => {
      const pairs = (await listJobs(jobsFor('ps'))).flatMap(({ labels }) =>
        Object.entries(labels ?? {}).map(([key, value]) => `${key}=${value}`),
      );
      return [...new Set(pairs)].filter(isOneWord).map((value) => ({ value }));
    },
    artifacts: async (id) => {
      const answer = await ask(`/jobs/${encodeURIComponent(id)}/artifacts`);
      const { artifacts = [] } = (answer ?? {}) as { artifacts?: { name: string; size_bytes: number }[] };
      return artifacts
        .filter(({ name }) => isOneWord(name))
        .map(({ name, size_bytes }): Candidate => ({ value: name, description: `${size_bytes} bytes` }));
    },
  };
}

/** What a line of the answer can hold. */
const isOneWord = (value: string): boolean => value !== '' && sanitize(value) === value;

/** @returns the JSON, or null when there is none for whatever reason */
async function get(path: string, flags: ServerFlags, env: ClientEnvironment): Promise<unknown> {
  let connection: Connection;
  try {
    connection = await discoverConnection(
      { url: flags['--url'], host: flags['--host'], port: flags['--port'], token: flags['--token'] },
      env,
    );
  } catch (error) {
    if (error instanceof ClientError) return null;
    throw error;
  }
  const answer = await exchange(path, connection);
  const end = answer.indexOf('\r\n\r\n');
  if (end === -1 || !/^HTTP\/1\.[01] 200 /.test(answer)) return null;
  try {
    return JSON.parse(answer.slice(end + 4));
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}

/** One request of HTTP/1.0, whose answer ends with the connection and comes in one piece. */
async function exchange(path: string, { url, token }: Connection): Promise<string> {
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1');
  const isSecure = url.protocol === 'https:';
  const port = Number(url.port === '' ? (isSecure ? 443 : 80) : url.port);
  const request = [
    `GET ${url.pathname.replace(/\/$/, '')}${path} HTTP/1.0`,
    `Host: ${url.host}`,
    'Accept: application/json',
    ...(token === null ? [] : [`Authorization: Bearer ${token}`]),
    'Connection: close',
  ];
  const socket: Socket = isSecure
    ? (await import('node:tls')).connect({ host, port, servername: host })
    : process.getBuiltinModule('node:net').connect({ host, port });
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    const done = (): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(Buffer.concat(chunks).toString('utf8'));
    };
    const timer = setTimeout(done, PATIENCE_MS);
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    for (const event of ['end', 'error', 'close'] as const) socket.on(event, done);
    socket.write(`${request.join('\r\n')}\r\n\r\n`);
  });
}
