/** Several real API processes over one database and one Redis, without workers. */
import { randomBytes } from 'node:crypto';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { eventually } from '../support/eventually.ts';
import { Caller } from '../support/http.ts';
import { type RoleProcess, startRole } from '../support/processes.ts';
import { TestRedis } from '../support/redis.ts';
import { temporaryDirectory } from '../support/scratch.ts';

export interface ApiProcesses {
  readonly dir: string;
  readonly redis: TestRedis;
  /** One a process, with the token of the configuration. */
  readonly callers: readonly [Caller, Caller];
  /** All that the processes have printed. */
  output(): Promise<string>;
  stop(): Promise<void>;
}

export async function startTwoApis(settings: Record<string, string> = {}): Promise<ApiProcesses> {
  const directory = await temporaryDirectory();
  const redis = await TestRedis.start();
  const token = randomBytes(32).toString('hex');
  const processes: RoleProcess[] = [];
  const logs: string[] = [];

  async function start(name: string): Promise<Caller> {
    const run = join(directory.path, name);
    await mkdir(run, { mode: 0o700 });
    const log = join(directory.path, `${name}.out`);
    const env = {
      FLASHPODS_DATA_DIR: directory.path,
      FLASHPODS_RUN_PATH: run,
      FLASHPODS_REDIS_URL: redis.url,
      FLASHPODS_API_TOKEN: token,
      FLASHPODS_LISTEN_ADDR: '127.0.0.1:0',
      FLASHPODS_LOG_LEVEL: 'trace',
      ...settings,
    };
    processes.push(startRole('api', env, log));
    logs.push(log);
    const { url } = await eventually(`${name} listens`, async () => {
      const text = await readFile(join(run, 'server.json'), 'utf8');
      return JSON.parse(text) as { url: string };
    });
    await eventually(`${name} is healthy`, async () => (await fetch(`${url}/health`)).status === 200);
    return new Caller(url, token);
  }

  const stop = async (): Promise<void> => {
    await Promise.all(processes.map((process) => process.end()));
    await redis.stop();
    await directory.remove();
  };
  try {
    // One after the other: the first makes the tables.
    const callers = [await start('api-1'), await start('api-2')] as const;
    return {
      dir: directory.path,
      redis,
      callers,
      output: async () => (await Promise.all(logs.map((log) => readFile(log, 'utf8')))).join(''),
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}
