/**
 * The stage before a job with `packages` is bound: the layer with them is found, or made in a sandbox like the job's
 * own (its limits, its user namespace, a disk and a network of its own), as root of that. One job makes it; others that
 * want the same wait for that. Nothing of it outlives a crash but a layer that is whole.
 */
import { STANDING_MOUNTS } from '../../src/containers/mounts.ts';
import type { PackageLayers, WantedLayer } from '../../src/containers/package-layers.ts';
import type { Sandbox } from '../../src/containers/sandbox.ts';
import { FlashpodsError } from '../../src/errors.ts';
import type { Job } from '../../src/jobs/job.ts';
import { SpoolLines } from '../../src/logs/spool-lines.ts';
import { BuildReport, ENDS, installCommand } from '../../src/packages/install-script.ts';
import { pause } from '../../src/timing/bell.ts';
import { untilAnswered } from '../persist.ts';
import type { SupervisionResources } from '../resources.ts';
import { diskBytesOf, type Launching, limitsOf } from './launch.ts';

/** Between two looks whether the other job is done. */
const LOOK_EVERY_MS = 200;

export interface Installing extends Launching {
  /** Called when the layer is not here, before anything is made. */
  begin(): Promise<void>;
  /** The sandbox is this run's to keep; null: it is gone. */
  hold(build: Sandbox | null): void;
}

export interface Layer {
  readonly key: string;
  /** For when a sandbox is bound that has it. */
  release(): void;
}

type Resources = Pick<SupervisionResources, 'config' | 'runtime' | 'inTurn'>;

/**
 * @returns the layer of the job's packages, not to be deleted until it is released
 * @throws FlashpodsError package_not_found, package_install_failed, oom_killed, disk_limit, pids_limit,
 *   container_start_failed; the reason of `stop` once it is aborted
 */
export async function install(resources: Resources, job: Job, installing: Installing): Promise<Layer> {
  const { stop, logger, tell } = installing;
  const { packages } = resources.runtime;
  if (packages === null)
    throw new FlashpodsError(
      'package_install_failed',
      "Packages can only be installed where the whole root file system of a job can be written to, and this host can't do that (`flashpods doctor` says why): choose an image that has them, or let a person make one on that host (`podman build`).",
    );
  const wanted = await untilAnswered(logger, stop, () => packages.want(job));
  const found = held(packages, wanted);
  if (found) return found;

  await installing.begin();
  await untilAnswered(logger, stop, () => packages.refuseForeign(wanted));
  const letGo = await claimed(
    packages,
    wanted,
    () => tell('Another job installs the same packages: waiting for it.'),
    stop,
  );
  try {
    // The one that was waited for may have made it.
    const made = held(packages, wanted);
    if (made) return made;
    tell(`Installing packages over the image: ${job.packages.join(' ')}`);
    await build(resources, job, { ...installing, packages, wanted });
    const layer = held(packages, wanted);
    if (!layer) throw failed('The disk of the host is too full to keep what was installed.');
    tell('The packages are installed, and kept for the next job that asks for the same.');
    return layer;
  } finally {
    letGo();
  }
}

function held(packages: PackageLayers, wanted: WantedLayer): Layer | null {
  const release = packages.hold(wanted);
  return release && { key: wanted.key, release };
}

/** @param wait called when another one has it */
async function claimed(
  packages: PackageLayers,
  wanted: WantedLayer,
  wait: () => void,
  stop: AbortSignal,
): Promise<() => void> {
  for (let looks = 0; ; looks++) {
    stop.throwIfAborted();
    const letGo = packages.claim(wanted);
    if (letGo) return letGo;
    if (looks === 0) wait();
    await pause(LOOK_EVERY_MS, stop);
  }
}

interface Building extends Installing {
  readonly packages: PackageLayers;
  readonly wanted: WantedLayer;
}

async function build(resources: Resources, job: Job, building: Building): Promise<void> {
  const { config, runtime, inTurn } = resources;
  const { stop, logger, tell, packages, wanted } = building;
  const sandbox = await runtime.provision({
    // The job's own disk is empty until it starts, and this one is gone by then.
    diskBytes: diskBytesOf(config, job),
    mounts: STANDING_MOUNTS,
  });
  building.hold(sandbox);
  try {
    const report = new BuildReport();
    await untilAnswered(logger, stop, () =>
      sandbox.bind({
        ...limitsOf(resources, job),
        jobId: job.id,
        epoch: job.epoch,
        jobType: job.type,
        image: job.image,
        root: true,
        command: installCommand(job.packages),
        env: { DEBIAN_FRONTEND: 'noninteractive', LANG: 'C.UTF-8', TERM: 'dumb' },
        network: 'internet',
        mounts: [],
        isBuild: true,
      }),
    );
    const lines = new SpoolLines(sandbox.spoolPath, (line, stream) => {
      if (stream === 'stderr') return report.note(line);
      report.read(line);
      tell(line);
    });
    let exitCode: number | null;
    try {
      await untilAnswered(logger, stop, () => inTurn(() => sandbox.start()));
      const state = await sandbox.waitForExit(stop);
      if (state === null) throw failed('The container that installed the packages vanished.');
      exitCode = state.exitCode;
    } finally {
      await lines.end();
    }
    const isBroken = (await sandbox.verdict()).diskError === true;
    if (exitCode !== ENDS.done || isBroken) throw await reasonOf(sandbox, report, exitCode, job);
    await untilAnswered(logger, stop, () => sandbox.remove());
    await packages.keep(wanted, sandbox, stop);
  } finally {
    await sandbox.kill().catch(() => undefined); // what is left, the next reconciliation finds
    await sandbox.dispose().catch(() => undefined);
    building.hold(null);
  }
}

/** What a build came to that did not end with 0. */
async function reasonOf(
  sandbox: Sandbox,
  report: BuildReport,
  exitCode: number | null,
  { packages }: Job,
): Promise<FlashpodsError> {
  const verdict = await sandbox.verdict();
  if (verdict.diskError === true) return new FlashpodsError('disk_error');
  if (exitCode === ENDS.noPackage) return new FlashpodsError('package_not_found', report.lacking());
  const said = report.failure(packages, exitCode);
  if (report.isUnavailable) return new FlashpodsError('package_not_found', said);
  const { oomKilled, diskFull, pidsExhausted } = verdict;
  if (oomKilled)
    return new FlashpodsError('oom_killed', `${said} It used more memory than the job asked for.`);
  if (diskFull) return new FlashpodsError('disk_limit', `${said} It filled the disk that the job may use.`);
  if (pidsExhausted)
    return new FlashpodsError('pids_limit', `${said} It reached the job's limit of processes.`);
  return failed(said);
}

const failed = (message: string): FlashpodsError => new FlashpodsError('package_install_failed', message);
