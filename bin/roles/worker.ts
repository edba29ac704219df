/** The worker of this host as a process. */
import { Worker } from '../../processors/worker.ts';
import { type Config, ConfigError } from '../../src/config.ts';
import { hostDirectory } from '../../src/default-directories.ts';
import { createPodmanRuntime } from '../../src/containers/podman/podman-runtime.ts';
import { once } from '../../src/lifecycle/once.ts';
import { stopInOrder, type StopSteps } from '../../src/lifecycle/stop-in-order.ts';
import type { Logger } from '../../src/observability/logger.ts';
import { podmanRunPath } from '../data-directory.ts';
import { mirrorSource } from './mirrors.ts';
import { RoleExit, type RunningRole } from './role.ts';
import { openShared } from './shared.ts';

export async function startWorkerRole(config: Config, logger: Logger): Promise<RunningRole> {
  const { podmanSocket } = config;
  if (podmanSocket === undefined) {
    throw new ConfigError(
      'FLASHPODS_PODMAN_SOCKET is needed here; `flashpods up` starts a Podman service of its own',
    );
  }
  const mirrors = mirrorSource(config, logger);
  const steps: StopSteps = [];
  const stop = once(() => stopInOrder(steps, logger));
  try {
    const shared = await openShared(config, logger, steps);
    const runtime = await createPodmanRuntime({
      socketPath: podmanSocket,
      hostName: config.hostName,
      deploymentId: shared.deploymentId,
      dataDir: hostDirectory(config),
      runDir: podmanRunPath(config),
      idBase: config.idBase,
      mirrors,
      packages: {
        ownerBytes: config.packageImagesMb * 2 ** 20,
        minFreeBytes: config.minFreeDiskMb * 2 ** 20,
      },
      caches: {
        ownerBytes: config.cachesMb * 2 ** 20,
        minFreeBytes: config.minFreeDiskMb * 2 ** 20,
      },
      spoolBytes: config.spoolMaxMb * 2 ** 20,
      logger,
    });
    steps.unshift(['podman client', () => runtime.close()]);
    if (!runtime.facts.limits) {
      if (!['true', '1'].includes(config.allowUnlimited)) {
        throw new ConfigError(
          'limits on cpus, memory and processes do not hold here, so any job could take all of this host: run the server as root, ' +
            'or boot with systemd.unified_cgroup_hierarchy=1 and delegate cpu, memory and pids to this user (`flashpods doctor` ' +
            'says more); to start all the same, set FLASHPODS_ALLOW_UNLIMITED=1',
        );
      }
      logger.warn(
        {},
        'limits on cpus, memory and processes do not hold here: any job can take all of this host',
      );
    }
    for (const note of runtime.facts.notes) logger.debug({ note }, 'what this host can do');
    const worker = new Worker({ ...shared, config, logger, runtime });
    steps.unshift(['worker', () => worker.stop()]);
    await worker.start();
    const error = new Error('a newer worker owns this host name');
    return { broken: worker.fenced.then(() => ({ error, exit: RoleExit.replaced })), stop };
  } catch (error) {
    await stop().catch(() => undefined); // told by the logger; what failed first is what counts
    throw error;
  }
}
