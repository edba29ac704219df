/**
 * Everything on this machine: Redis and the Podman service unless the configuration names others, the API and one
 * worker. API and worker are processes of their own: each can die and come back without the others.
 */
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { startEmbeddedRedis } from '../../queues/embedded-redis.ts';
import { type Config, loadConfig, type Origins, variableOf } from '../../src/config.ts';
import { settingsSchema } from '../../src/settings.ts';
import { FlashpodsClient } from '../../src/client/client.ts';
import { NO_RETRY } from '../../src/client/connection.ts';
import { BASE_IMAGE } from '../../src/containers/base-image.ts';
import { startPodmanService } from '../../src/containers/podman/service/service.ts';
import { Keeper } from '../../src/lifecycle/keeper.ts';
import { asItIs, type Launch } from '../../src/lifecycle/launch.ts';
import { once } from '../../src/lifecycle/once.ts';
import { stopInOrder, type StopSteps } from '../../src/lifecycle/stop-in-order.ts';
import type { Logger } from '../../src/observability/logger.ts';
import { VERSION } from '../../src/version.ts';
import {
  lockDataDirectory,
  lockRunDirectory,
  makePrivateDirectories,
  makeToken,
  podmanRunPath,
  readToken,
} from '../data-directory.ts';
import { type Confinement, confine } from '../confinement.ts';
import { enterInstallation } from '../installation.ts';
import { ChildRecord } from '../leftovers.ts';
import { SupervisedChild } from '../supervised-child.ts';
import { mirrorSource } from './mirrors.ts';
import { answerPings } from './podman-ping.ts';
import { RoleExit, type RunningRole } from './role.ts';
import { startRsync } from './rsync.ts';

export async function startUp(given: Config, logger: Logger, origins: Origins): Promise<RunningRole> {
  const config = origins.has('workerImage') ? given : { ...given, workerImage: BASE_IMAGE };
  mirrorSource(config, logger); // before anything is started
  makePrivateDirectories(config);
  // Begun last, ended first.
  const steps: StopSteps = [];
  const children: SupervisedChild[] = [];
  const stop = once(() => stopInOrder(steps, logger));
  try {
    // Before the lock, whose record would take the place of the original's.
    await enterInstallation(config, logger);
    const lock = lockDataDirectory(config);
    steps.unshift(['lock', () => lock.release()]);
    const runLock = lockRunDirectory(config);
    steps.unshift(['run lock', () => runLock.release()]);
    const record = new ChildRecord(config.runPath);
    await record.clear(logger);
    makeToken(config);
    const confinement = await confine(config, logger);
    steps.unshift(['confinement', confinement.end]);

    const [redisUrl, podmanSocket] = await Promise.all([
      config.redisUrl ?? startRedis(confinement, logger, steps),
      config.podmanSocket ?? startPodman(config, logger, steps),
    ]);
    await startRsync(confinement.config, logger, steps, confinement.api);
    const pings = confinement.isReal ? await answerPings(podmanSocket, config.runPath, steps) : podmanSocket;
    let listenAddr = config.listenAddr;
    const apiEnv = (): NodeJS.ProcessEnv => ({
      ...environmentOf({ ...confinement.config, redisUrl, podmanSocket: pings, listenAddr }),
      ...(confinement.isReal ? whatConfinedNeed(confinement.config) : {}),
    });
    const workerEnv = (): NodeJS.ProcessEnv => ({
      ...environmentOf({ ...config, redisUrl, podmanSocket }),
      // It asks nobody for anything.
      [variableOf('apiToken')]: undefined,
    });
    const child = (name: string, env: () => NodeJS.ProcessEnv, launch: Launch): SupervisedChild => {
      const made = new SupervisedChild({
        name,
        args: [...process.execArgv, process.argv[1] ?? '', name],
        env,
        launch,
        onSpawn: (pid) => record.set(name, pid),
        logger,
      });
      children.push(made);
      steps.unshift([name, () => made.stop()]);
      return made;
    };
    const api = child('api', apiEnv, confinement.api);
    const worker = child('worker', workerEnv, asItIs);
    const [{ url }] = await Promise.all([api.start(), worker.start()]);
    if (url === undefined) throw new Error('the API did not say where it listens');
    // Port 0 was a free one; started again, the API keeps its address.
    listenAddr = new URL(url).host;
    steps.unshift(['farewell', () => sayWhatRunsOn(url, config)]);
    greet(url, config);
    return {
      url,
      broken: Promise.race([api.givenUp, worker.givenUp]).then((error) => ({ error, exit: RoleExit.failed })),
      stop,
      kill: () => children.forEach((running) => running.kill()),
    };
  } catch (error) {
    await stop().catch(() => undefined); // told by the logger; what failed first is what counts
    throw error;
  }
}

async function startRedis(
  { config, redis: launch }: Confinement,
  logger: Logger,
  steps: StopSteps,
): Promise<string> {
  const options = {
    launch,
    dir: join(config.dataDir, 'redis'),
    socketPath: join(config.runPath, 'redis.sock'),
    logger,
  };
  const redis = new Keeper({ name: 'redis-server', start: () => startEmbeddedRedis(options), logger });
  steps.unshift(['redis', () => redis.stop()]);
  return (await redis.start()).url;
}

async function startPodman(config: Config, logger: Logger, steps: StopSteps): Promise<string> {
  const podman = await startPodmanService({
    runDir: podmanRunPath(config),
    ...(config.podmanRoot === undefined ? {} : { podmanRoot: config.podmanRoot }),
    logger,
  });
  steps.unshift(['podman', () => podman.stop()]);
  return podman.socketPath;
}

/** The settings in force, for a child: variables go before the file and the defaults. */
function environmentOf(config: Config): NodeJS.ProcessEnv {
  const env: NodeJS.ProcessEnv = { ...process.env };
  const values: Readonly<Record<string, unknown>> = { ...config };
  for (const name of Object.keys(settingsSchema.shape)) {
    const value = values[name];
    if (['string', 'number', 'boolean'].includes(typeof value)) env[variableOf(name)] = `${value as string}`;
  }
  return env;
}

/** The file of settings was read, and lies where they may not look; what Node compiled for root they may not change. */
const whatConfinedNeed = ({ runPath }: Config): NodeJS.ProcessEnv => ({
  FLASHPODS_CONFIG: undefined,
  ...(process.env['NODE_COMPILE_CACHE'] === undefined
    ? {}
    : { NODE_COMPILE_CACHE: join(runPath, 'compiled') }),
});

function greet(url: string, config: Config): void {
  const cpus = config.cpus ?? availableParallelism();
  const token = config.apiToken === undefined ? `in ${config.tokenFile}` : 'as FLASHPODS_API_TOKEN says';
  const command = process.env['FLASHPODS_INVOKED_AS'] ?? 'flashpods';
  // A client without this setting looks for a server in the default directory.
  const setting =
    config.runPath === loadConfig({}, { HOME: process.env['HOME'] }).runPath
      ? ''
      : ` with FLASHPODS_DATA_DIR=${config.dataDir}`;
  process.stdout.write(`
Flashpods ${VERSION} is up.

  API      ${url}
  token    ${token}
  data     ${config.dataDir}
  host     ${config.hostName}, ${cpus} cpu${cpus === 1 ? '' : 's'}

Try, in another terminal${setting}:
  ${command} run -- 'echo hello from $(hostname)'
  ${command} ps -a
  ${command} status

Ctrl-C stops it all and loses nothing: jobs that run go on, and the next start takes them up again.

`);
}

/** Containers outlive us; the user who stops us should know it. Says nothing when the API does not answer. */
async function sayWhatRunsOn(url: string, config: Config): Promise<void> {
  const origin = 'flashpods up';
  const settings = { retry: NO_RETRY, defaultExclude: null, rsyncHost: null, cacheDir: config.runPath };
  const client = new FlashpodsClient({ url: new URL(url), token: readToken(config), origin, ...settings });
  const count = async (status: string): Promise<number> =>
    (await client.listJobs({ status, limit: 1 }, AbortSignal.timeout(2_000))).total;
  const [running, queued] = await Promise.all([count('running'), count('queued')]).catch(() => [0, 0]);
  client.close();
  if (running > 0)
    process.stdout.write(
      `${jobs(running)} still running; the next start of \`flashpods up\` takes ${running === 1 ? 'it' : 'them'} up again.\n`,
    );
  if (queued > 0)
    process.stdout.write(`${jobs(queued)} waiting; ${queued === 1 ? 'it starts' : 'they start'} then.\n`);
}

const jobs = (count: number): string => (count === 1 ? '1 job is' : `${count} jobs are`);
