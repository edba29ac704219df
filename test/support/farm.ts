/** A whole Flashpods in this process, without HTTP: private Redis and Podman service, SQLite, one worker. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Worker } from '../../processors/worker.ts';
import { QueueAdmissions } from '../../queues/admissions.ts';
import { startEmbeddedRedis } from '../../queues/embedded-redis.ts';
import { createQueueResources, type QueueResources } from '../../queues/resources.ts';
import { type Config, type Flags, loadConfig } from '../../src/config.ts';
import { BASE_IMAGE } from '../../src/containers/base-image.ts';
import { createPodmanRuntime } from '../../src/containers/podman/podman-runtime.ts';
import { startPodmanService } from '../../src/containers/podman/service/service.ts';
import type { ContainerRuntime } from '../../src/containers/runtime.ts';
import { Database } from '../../src/database/database.ts';
import { KnexHostStore } from '../../src/database/host-store.ts';
import { type JobStores, jobStores } from '../../src/database/job-stores.ts';
import { KnexTenantStore } from '../../src/database/tenant-store.ts';
import { KnexUploadStore } from '../../src/database/upload-store.ts';
import { NO_LIMITS, Tenants } from '../../src/tenants/tenants.ts';
import { newUploadId } from '../../src/ids.ts';
import type { Job } from '../../src/jobs/job.ts';
import { jobLimits } from '../../src/jobs/description/limits.ts';
import { parseCreateJob } from '../../src/jobs/request.ts';
import { JobService } from '../../src/jobs/service.ts';
import { isTerminal } from '../../src/jobs/states.ts';
import { LocalArtifactStore } from '../../src/artifacts/local-artifact-store.ts';
import { LocalLogStore } from '../../src/logs/local-log-store.ts';
import { LocalSnapshotStore } from '../../src/uploads/local-snapshot-store.ts';
import { createLogger } from '../../src/observability/logger.ts';
import { eventually } from './eventually.ts';
import { texts } from './http.ts';
import { temporaryDirectory } from './scratch.ts';
import { stocksOf } from '../../queues/images/stocks.ts';
import { ImageService } from '../../src/images/service.ts';

export interface Farm extends JobStores {
  readonly config: Config;
  readonly jobs: JobService;
  readonly runtime: ContainerRuntime;
  readonly queues: QueueResources;
  readonly cpus: number;
  submit(request: Record<string, unknown>): Promise<Job>;
  ended(id: string): Promise<Job>;
  run(request: Record<string, unknown>): Promise<Job>;
  texts(id: string): Promise<string[]>;
  /** Makes a directory a finalized upload and returns its id. */
  adoptSnapshot(dir: string): Promise<string>;
  /** Detaches the worker and starts another of the same name. */
  replaceWorker(): Promise<void>;
  stop(): Promise<void>;
}

export async function startFarm(options: { minuteMs: number; config?: Flags }): Promise<Farm> {
  const dir = await temporaryDirectory();
  const cpus = 4;
  const config = loadConfig(
    {
      dataDir: dir.path,
      hostName: 'farm',
      cpus,
      memoryGb: 8,
      workerImage: BASE_IMAGE,
      heartbeatSeconds: 1,
      leaseSeconds: 5,
      reconcileSeconds: 2,
      ...options.config,
    },
    {},
  );
  const logger = createLogger({ level: 'silent', role: 'test' });
  for (const path of [config.runPath, config.logsPath, config.artifactsPath, config.uploadsPath])
    await mkdir(path, { recursive: true, mode: 0o700 });
  const redis = await startEmbeddedRedis({
    dir: join(dir.path, 'redis'),
    socketPath: join(config.runPath, 'redis.sock'),
    logger,
  });
  const database = await Database.open({ path: config.dbPath });
  const service = await startPodmanService({
    runDir: join(config.runPath, 'podman'),
    logger,
  });
  const runtime = await createPodmanRuntime({
    socketPath: service.socketPath,
    hostName: config.hostName,
    deploymentId: await database.deploymentId(),
    dataDir: join(config.dataDir, 'hosts', config.hostName),
    runDir: join(config.runPath, 'podman'),
    idBase: config.idBase,
    logger,
  });
  const stores = jobStores(database);
  const { queries } = stores;
  const uploads = new KnexUploadStore(database);
  const hosts = new KnexHostStore(database);
  const queues = createQueueResources({ redisUrl: redis.url, logger });
  const tenants = new Tenants({ store: new KnexTenantStore(database), defaults: NO_LIMITS, logger });
  const jobs = new JobService({
    ...stores,
    queue: queues.queue,
    admissions: new QueueAdmissions({ ...stores, resources: queues, tenants, logger }),
    announcements: queues.announcements,
    hosts,
    images: new ImageService({ reports: () => stocksOf(queues), removals: queues.imageRemovals }),
    limits: jobLimits(config),
    tenants,
    logger,
  });
  const adopted = new Map<string, string>();
  const logs = new LocalLogStore(config.logsPath);
  const snapshots = new LocalSnapshotStore(join(config.uploadsPath, 'snapshots'), null);
  const materialise = snapshots.materialise.bind(snapshots);
  snapshots.materialise = async (id) => adopted.get(id) ?? materialise(id);
  const makeWorker = (): Worker =>
    new Worker({
      config,
      logger,
      ...stores,
      hosts,
      tenants,
      runtime,
      queues,
      logs,
      artifacts: new LocalArtifactStore(config.artifactsPath),
      snapshots,
      uploads: { sweep: async () => undefined },
      minuteMs: options.minuteMs,
    });
  let worker = makeWorker();
  await worker.start();

  const submit = async (request: Record<string, unknown>): Promise<Job> => {
    const small = { type: 'worker', cpus: 1, memory_gb: 1, network: 'none', timeout_minutes: 30 };
    const { job } = await jobs.create('default', parseCreateJob({ ...small, ...request }));
    return job;
  };
  const ended = (id: string): Promise<Job> =>
    eventually(`job ${id} has ended`, async () => {
      const job = await queries.get(id);
      return job && isTerminal(job.status) ? job : null;
    });
  return {
    config,
    ...stores,
    jobs,
    runtime,
    queues,
    cpus,
    submit,
    ended,
    run: async (request) => ended((await submit(request)).id),
    texts: async (id) => texts((await logs.readTail(id, 10_000))?.output.toString() ?? ''),
    async adoptSnapshot(path) {
      const id = newUploadId();
      await uploads.create({ id, owner: 'default', expiresAt: Date.now() + 60_000 });
      await uploads.finalize(id, {
        sizeBytes: 0,
        fileCount: 0,
        expiresAt: Date.now() + 60_000,
        reusable: false,
      });
      adopted.set(id, path);
      return id;
    },
    async replaceWorker() {
      await worker.stop();
      worker = makeWorker();
      await worker.start();
    },
    async stop() {
      await worker.stop();
      for (const { sandbox } of await runtime.sandboxes()) await sandbox.dispose();
      await queues.close();
      await runtime.close();
      await service.stop();
      await redis.stop();
      await database.close();
      await dir.remove();
    },
  };
}
