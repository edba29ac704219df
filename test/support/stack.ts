/** A whole Flashpods as its processes: private Redis and Podman service, one API, any number of workers. */
import { randomBytes } from 'node:crypto';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { startEmbeddedRedis, type EmbeddedRedis } from '../../queues/embedded-redis.ts';
import { createQueueResources, type QueueResources } from '../../queues/resources.ts';
import { type PodmanService, startPodmanService } from '../../src/containers/podman/service/service.ts';
import { createLogger } from '../../src/observability/logger.ts';
import { eventually } from './eventually.ts';
import { BASE_IMAGE } from '../../src/containers/base-image.ts';
import { Caller } from './http.ts';
import { type RoleProcess, startRole } from './processes.ts';
import { temporaryDirectory } from './scratch.ts';

export interface WorkerSize {
  readonly name: string;
  readonly cpus: number;
  readonly memoryGb: number;
}

export interface HowToStart {
  /** Over the environment that all processes share. */
  readonly env?: Readonly<Record<string, string>>;
  /** Takes a role's name like `bin/flashpods.ts`. */
  readonly program?: string;
}

export interface Stack {
  readonly dir: string;
  readonly api: RoleProcess;
  readonly caller: Caller;
  /** The newest one. */
  readonly redis: EmbeddedRedis;
  readonly podman: PodmanService;
  readonly queues: QueueResources;
  readonly env: Readonly<Record<string, string>>;
  worker(name: string): RoleProcess;
  /** Starts a worker and waits until its host is up. The newest of a name is the one that {@link worker} gives. */
  startWorker(size: WorkerSize, how?: HowToStart): Promise<RoleProcess>;
  /** The same without waiting, for one that may not come so far. */
  launchWorker(size: WorkerSize, how?: HowToStart): RoleProcess;
  startApi(how?: HowToStart): Promise<Caller>;
  /** Starts Redis anew, on the data of the one that is gone. */
  startRedis(): Promise<void>;
  /** Ends API and workers; all else goes on. */
  endRoles(): Promise<void>;
  stop(): Promise<void>;
}

export async function startStack(options: {
  workers: readonly WorkerSize[];
  env?: Record<string, string>;
}): Promise<Stack> {
  const directory = await temporaryDirectory();
  const dir = directory.path;
  const run = join(dir, 'run');
  await mkdir(run, { recursive: true, mode: 0o700 });
  const logger = createLogger({ level: 'silent', role: 'test' });
  const embedded = (): Promise<EmbeddedRedis> =>
    startEmbeddedRedis({ dir: join(dir, 'redis'), socketPath: join(run, 'redis.sock'), logger });
  let redis = await embedded();
  const podman = await startPodmanService({
    runDir: join(run, 'podman'),
    logger,
  });
  const token = randomBytes(32).toString('hex');
  const env: Record<string, string> = {
    FLASHPODS_DATA_DIR: dir,
    FLASHPODS_RUN_PATH: run,
    FLASHPODS_REDIS_URL: redis.url,
    FLASHPODS_PODMAN_SOCKET: podman.socketPath,
    FLASHPODS_API_TOKEN: token,
    FLASHPODS_LISTEN_ADDR: '127.0.0.1:0',
    FLASHPODS_WORKER_IMAGE: BASE_IMAGE,
    FLASHPODS_HEARTBEAT_SECONDS: '1',
    FLASHPODS_LEASE_SECONDS: '5',
    FLASHPODS_RECONCILE_SECONDS: '2',
    FLASHPODS_GRACE_SECONDS: '1',
    FLASHPODS_RATE_LIMIT_PER_SECOND: '100000',
    FLASHPODS_RATE_LIMIT_BURST: '100000',
    ...options.env,
  };
  const queues = createQueueResources({ redisUrl: redis.url, logger });
  const workers = new Map<string, RoleProcess>();
  let api: RoleProcess;
  let caller: Caller;

  const all: RoleProcess[] = [];
  const startApi = async (how: HowToStart = {}): Promise<Caller> => {
    api = startRole('api', { ...env, ...how.env }, join(dir, 'api.out'), how.program);
    all.push(api);
    const { pid } = api;
    caller = await eventually('the API answers', async () => {
      const server = JSON.parse(await readFile(join(run, 'server.json'), 'utf8')) as {
        url: string;
        pid: number;
      };
      if (server.pid !== pid) return null;
      const candidate = new Caller(server.url, token);
      return (await candidate.fetch('/capacity')).status === 200 ? candidate : null;
    });
    return caller;
  };
  const show = async (name: string): Promise<void> => {
    const said = await readFile(join(dir, `${name}.out`), 'utf8').catch(() => '');
    process.stderr.write(`--- ${name}\n${said}\n`);
  };
  const launchWorker = (size: WorkerSize, how: HowToStart = {}): RoleProcess => {
    const worker = startRole(
      'worker',
      {
        ...env,
        FLASHPODS_HOST_NAME: size.name,
        FLASHPODS_CPUS: String(size.cpus),
        FLASHPODS_MEMORY_GB: String(size.memoryGb),
        ...how.env,
      },
      join(dir, `worker-${size.name}.out`),
      how.program,
    );
    workers.set(size.name, worker);
    all.push(worker);
    return worker;
  };
  const startWorker = async (size: WorkerSize, how?: HowToStart): Promise<RoleProcess> => {
    const before =
      (await queues.semaphore.view()).hosts.find((host) => host.name === size.name)?.generation ?? 0;
    const worker = launchWorker(size, how);
    try {
      const isUp = async (): Promise<boolean> => {
        const host = (await queues.semaphore.view()).hosts.find((entry) => entry.name === size.name);
        return host !== undefined && host.generation > before && host.synchronised && host.leaseLive;
      };
      await eventually(`host ${size.name} is up`, isUp, { timeoutMs: 90_000 });
    } catch (error) {
      await show(`worker-${size.name}`);
      throw error;
    }
    return worker;
  };

  const endRoles = async (): Promise<void> => {
    await Promise.all(
      all.map((each) => {
        const ended = each.end();
        each.kill('SIGCONT'); // one that a test has stopped ends as well
        return ended;
      }),
    );
  };
  const stop = async (): Promise<void> => {
    await endRoles();
    await queues.close();
    await podman.stop();
    await redis.stop();
    await directory.remove();
  };

  try {
    await startApi();
    await Promise.all(options.workers.map((size) => startWorker(size)));
  } catch (error) {
    await show('api');
    await stop();
    throw error;
  }
  return {
    dir,
    get api() {
      return api;
    },
    get caller() {
      return caller;
    },
    get redis() {
      return redis;
    },
    podman,
    queues,
    env,
    worker(name) {
      const worker = workers.get(name);
      if (!worker) throw new Error(`no worker ${name}`);
      return worker;
    },
    startWorker,
    launchWorker,
    startApi,
    async startRedis() {
      await redis.stop();
      redis = await embedded();
    },
    endRoles,
    stop,
  };
}
