import { discoverConnection, NO_RETRY } from '../../client/connection.ts';
import { ClientError } from '../../client/client-error.ts';
import type { ClientEnvironment } from '../../client/environment.ts';
import { parseObject, Transport } from '../../client/transport.ts';
import { shorten, sanitize } from '../terminal.ts';
import type { Candidate, ServerValues } from './complete.ts';

/** `--url` and its like, as they stand on the line that is completed. */
export type ServerFlags = Readonly<Record<string, string | undefined>>;

/** Somebody waits with a finger on the key. */
const PATIENCE_MS = 1_000;
const JOBS = 50;
const COMMAND_WIDTH = 60;

interface JobFields {
  readonly id: string;
  readonly status: string;
  readonly command?: string | null;
  readonly task?: string | null;
  readonly labels?: Readonly<Record<string, string>>;
}

const jobsFor = (command: string): string =>
  `/jobs?status=${['kill', 'wait'].includes(command) ? 'active' : 'all'}&limit=${JOBS}`;

/** What the server says that the flags name. */
export const askServer =
  (env: ClientEnvironment) =>
  (flags: ServerFlags): ServerValues =>
    serverValues((path) => get(path, flags, env));

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

/** @returns the JSON, or null when there is none for any reason */
async function get(path: string, flags: ServerFlags, env: ClientEnvironment): Promise<unknown> {
  const signal = AbortSignal.timeout(PATIENCE_MS);
  try {
    const named = {
      url: flags['--url'],
      host: flags['--host'],
      port: flags['--port'],
      token: flags['--token'],
    };
    const connection = await discoverConnection(named, env);
    const transport = new Transport({ ...connection, retry: NO_RETRY });
    return parseObject((await transport.call({ method: 'GET', path, signal })).body);
  } catch (error) {
    if (error instanceof ClientError || signal.aborted) return null;
    throw error;
  }
}
