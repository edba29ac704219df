/** The rsync daemon of this machine: kept by `up`, or by an API that runs alone. */
import type { Config } from '../../src/config.ts';
import { systemCode } from '../../src/errors.ts';
import { Keeper } from '../../src/lifecycle/keeper.ts';
import { asItIs, type Launch } from '../../src/lifecycle/launch.ts';
import type { StopSteps } from '../../src/lifecycle/stop-in-order.ts';
import type { Logger } from '../../src/observability/logger.ts';
import { daemonAddress, startRsyncDaemon } from '../../src/uploads/rsync/daemon.ts';
import { rsyncPath } from '../data-directory.ts';

/** Starts it unless it is switched off or another process keeps it. Without rsync, uploads come over HTTP alone. */
export async function startRsync(
  config: Config,
  logger: Logger,
  steps: StopSteps,
  launch: Launch = asItIs,
): Promise<void> {
  const directory = rsyncPath(config);
  if (config.rsyncAddr === 'off' || daemonAddress(directory) !== null) return;
  const colon = config.rsyncAddr.lastIndexOf(':');
  const host = config.rsyncAddr.slice(0, colon);
  let port = Number(config.rsyncAddr.slice(colon + 1));
  const start = async (): ReturnType<typeof startRsyncDaemon> => {
    const daemon = await startRsyncDaemon({
      directory,
      host,
      port,
      hostsAllow: config.rsyncHostsAllow,
      owner: { uid: config.idBase, gid: config.idBase },
      launch,
      logger,
    });
    // Started again it keeps its address: clients were told it.
    ({ port } = daemon);
    return daemon;
  };
  const kept = new Keeper({ name: 'rsync --daemon', start, logger });
  try {
    await kept.start();
  } catch (error) {
    if (!(error instanceof Error) || systemCode(error.cause) !== 'ENOENT') throw error;
    logger.warn({}, 'rsync is not installed: uploads come over HTTP alone');
    return;
  }
  steps.unshift(['rsync', () => kept.stop()]);
}
