/** Podman and what this host lets it do. */
import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { userInfo } from 'node:os';
import { BASE_IMAGE } from '../../containers/base-image.ts';
import {
  cgroupVersion,
  hardLimits,
  isHybrid,
  overlappingOwners,
  readIfThere,
} from '../../containers/podman/host/probes.ts';
import { PodmanApiError } from '../../containers/podman/service/http.ts';
import { isRecord } from '../../is-record.ts';
import { ID_RANGE_SIZE } from '../../containers/podman/container/job-user.ts';
import { writeServiceConfig } from '../../containers/podman/service/service-config.ts';
import { messageOf } from '../../errors.ts';
import { inputsOf, LABELS } from '../../images/description.ts';
import { type Check, failure, type Finding, ok, oneLine, skipped, warning } from '../check.ts';
import type { Podman } from '../podman-probe.ts';
import { missingPrograms, printed } from '../program.ts';
import type { DoctorResources } from '../resources.ts';

const USUAL_TIMEOUT_MS = 10_000;
/** A service may have to be started first. */
const PODMAN_TIMEOUT_MS = 45_000;
const OLDEST_PODMAN = 4;
/** Each job's connection, log and loop device takes some. */
const ENOUGH_FILES = 4_096;
const ENOUGH_PROCESSES = 4_096;

const isRoot = (): boolean => process.getuid?.() === 0;

export function podmanChecks(resources: DoctorResources): readonly Check[] {
  const { config, podman } = resources;
  /** What needs a Podman that answers. */
  const asked = (
    name: string,
    run: (found: Podman, signal: AbortSignal) => Finding | Promise<Finding>,
  ): Check => ({
    name,
    timeoutMs: PODMAN_TIMEOUT_MS,
    async run(signal) {
      const found = await podman.get().catch(() => null);
      return found === null ? skipped('Podman does not answer') : run(found, signal);
    },
  });
  return [
    { name: 'podman', timeoutMs: PODMAN_TIMEOUT_MS, run: () => podmanItself(resources) },
    asked('runtime', () => ociRuntime(resources)),
    asked('cgroups', cgroups),
    asked('job disks', jobDisks),
    asked('job roots', jobRoots),
    asked('ids', ({ runtime }) => (runtime.facts.rootless ? rootlessIds() : reservedIds(config.idBase))),
    { name: 'limits', timeoutMs: USUAL_TIMEOUT_MS, run: () => Promise.resolve(limits()) },
    asked('job network', (found, signal) => jobNetwork(resources, found, signal)),
    asked('image', (found) => workerImage(resources, found)),
  ];
}

async function podmanItself({ config, podman }: DoctorResources): Promise<Finding> {
  if (config.podmanSocket === undefined && (await printed('podman', '--version')) === null)
    return failure(
      'podman is not installed',
      'On Debian: apt-get install podman runc uidmap; or name a service with FLASHPODS_PODMAN_SOCKET.',
    );
  try {
    const { runtime, socketPath, whose } = await podman.get();
    const version = runtime.facts.engine.replace('podman ', '');
    if (Number(version.split('.')[0]) < OLDEST_PODMAN)
      return failure(`${version} is too old`, `Install Podman ${OLDEST_PODMAN} or newer.`);
    const where = whose === 'configured' ? socketPath : whose;
    return ok(`${version}${runtime.facts.rootless ? ', rootless' : ''}; its service answers (${where})`);
  } catch (error) {
    return failure(
      `its service does not answer: ${oneLine(messageOf(error))}`,
      config.podmanSocket === undefined
        ? 'Try `podman info` as this user: fix what it complains about.'
        : `Start it (\`podman system service --time=0 unix://${config.podmanSocket}\`), or correct FLASHPODS_PODMAN_SOCKET; this user must be able to write to the socket.`,
    );
  }
}

async function ociRuntime({ podman, scratch }: DoctorResources): Promise<Finding> {
  const { runtime, whose } = await podman.get();
  const { ociRuntime } = runtime.facts;
  if (whose === 'configured') return ok(`${ociRuntime}, as the service is set up`);
  const { notes } = await writeServiceConfig({ runDir: scratch, cgroupManager: null });
  const [note] = notes;
  return ok(note ?? ociRuntime);
}

function cgroups({ runtime }: Podman): Finding {
  const { facts } = runtime;
  const what = `v${facts.cgroupVersion}${isHybrid() ? ' (hybrid)' : ''}, manager ${facts.cgroupManager}`;
  const about = facts.notes.filter((note) => /cgroup|controller|swap/.test(note)).join('; ');
  if (!facts.limits)
    return warning(
      `${what}: limits on cpus, memory and processes do not hold`,
      cgroupVersion() === 1
        ? 'Run the server as root, or boot with systemd.unified_cgroup_hierarchy=1.'
        : 'Delegate cpu, memory and pids to this user: a drop-in for user@.service with Delegate=yes.',
    );
  return /no parent cgroups/.test(about)
    ? warning(
        `${what}: limits hold, but the kernel's verdict on a job is lost with its container (${about})`,
        'Set cgroup_manager = "cgroupfs" for the service, or let `flashpods up` start its own.',
      )
    : ok(
        `${what}: limits on cpus, memory and processes hold${/not count swap/.test(about) ? '; swap is not counted' : ''}`,
      );
}

async function jobDisks({ runtime }: Podman): Promise<Finding> {
  if (runtime.facts.disk === 'loop') return ok('a loop-mounted image for each job: the limit is exact');
  const missing = await missingPrograms('mkfs.ext4', 'mount', 'losetup');
  return warning(
    'no loop mounts: a job can go over its disk limit for two seconds before it is ended',
    missing.length > 0
      ? `Install ${missing.join(', ')} (Debian: e2fsprogs, mount).`
      : isRoot()
        ? 'Give this machine loop devices (modprobe loop; /dev/loop-control in a container): then a limit on disk is exact.'
        : 'Only root may mount: run the server as root for exact limits.',
  );
}

/** What a job may write to beside its files; see docs/environment.md. */
export function jobRoots({ runtime }: { readonly runtime: Pick<Podman['runtime'], 'facts'> }): Finding {
  const { root, rootless, notes } = runtime.facts;
  if (root === 'writable') return ok('jobs can write to their whole root file system');
  const reason =
    notes
      .find((note) => note.includes('root file system'))
      ?.split(': ')
      .at(-1) ?? 'unknown';
  return warning(
    `the root file system of jobs is read-only but for /work, /artifacts, /tmp, /var/tmp and the home (${reason}): apt-get install fails in them, jobs with packages fail, and every cache is cold`,
    rootless
      ? 'Run the server as root for roots that jobs can write to.'
      : "It takes Linux 5.19 or newer, Podman's storage driver overlay, and no SELinux.",
  );
}

function reservedIds(idBase: number): Finding {
  const owners = ['/etc/subuid', '/etc/subgid'].flatMap((file) =>
    overlappingOwners(idBase, readIfThere(file)),
  );
  const range = `host ids ${idBase}–${idBase + ID_RANGE_SIZE - 1} stand behind those of containers`;
  return owners.length === 0
    ? ok(range)
    : warning(
        `${range}, and belong to ${[...new Set(owners)].join(', ')} as well`,
        'Choose another range with FLASHPODS_ID_BASE before the first job.',
      );
}

async function rootlessIds(): Promise<Finding> {
  const { username, uid } = userInfo();
  const sizes = ['/etc/subuid', '/etc/subgid'].map((file) =>
    readIfThere(file)
      .split('\n')
      .map((line) => line.split(':'))
      .filter(([owner]) => owner === username || owner === String(uid))
      .reduce((sum, [, , count]) => sum + Number(count), 0),
  );
  if (Math.min(...sizes) < ID_RANGE_SIZE)
    return failure(
      `${username} has fewer than ${ID_RANGE_SIZE} ids in /etc/subuid and /etc/subgid`,
      `As root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 ${username}, then podman system migrate`,
    );
  const missing = await missingPrograms('newuidmap', 'newgidmap');
  return missing.length > 0
    ? failure(`${missing.join(', ')} not installed`, 'On Debian: apt-get install uidmap.')
    : ok(`${username} keeps its id; ${Math.min(...sizes)} more for others in a container`);
}

function limits(): Finding {
  const { nofile, nproc } = hardLimits();
  const shown = (value: number): string => (value === Number.MAX_SAFE_INTEGER ? 'unlimited' : String(value));
  const what = `open files ${shown(nofile)}, processes ${shown(nproc)}`;
  return nofile < ENOUGH_FILES || nproc < ENOUGH_PROCESSES
    ? warning(
        `${what}: few for many jobs at once, and no job can have more`,
        'Raise them: LimitNOFILE and LimitNPROC in a systemd unit, or /etc/security/limits.conf.',
      )
    : ok(what);
}

const imageOf = ({ config, isConfigured }: DoctorResources): string =>
  isConfigured('workerImage') ? config.workerImage : BASE_IMAGE;

/** Runs a container there: that all of it is installed does not say that it works. */
async function jobNetwork(
  resources: DoctorResources,
  { runtime }: Podman,
  signal: AbortSignal,
): Promise<Finding> {
  const { rootless } = runtime.facts;
  const problem = rootless ? await slirpProblem() : null;
  if (problem !== null) return problem;
  const network = rootless ? 'slirp4netns' : "Podman's bridge";
  const image = imageOf(resources);
  if (!(await runtime.hasImage(image)))
    return skipped(`${network}; not tried, because ${image} is not on this host`);
  try {
    const exitCode = await resources.podman.try({ image, network: 'internet' }, signal);
    return exitCode === 0
      ? ok(`${network}; a container ran on it`)
      : failure(
          `a container on ${network} ended with exit code ${exitCode ?? 'unknown'}`,
          `podman run --rm ${image} true`,
        );
  } catch (error) {
    const said = oneLine(messageOf(error));
    return failure(`a container on ${network} does not start: ${said}`, adviceOnNetwork(said));
  }
}

async function slirpProblem(): Promise<Finding | null> {
  const missing = await missingPrograms('slirp4netns');
  if (missing.length > 0)
    return failure(
      'slirp4netns is not installed: jobs with network "internet" can\'t start',
      'On Debian: apt-get install slirp4netns.',
    );
  try {
    await access('/dev/net/tun', constants.R_OK | constants.W_OK);
    return null;
  } catch {
    return failure(
      '/dev/net/tun is not there or not for this user: jobs with network "internet" can\'t start',
      'As root: modprobe tun; chmod 666 /dev/net/tun',
    );
  }
}

/** Podman names the program that it misses, but not where it comes from. */
function adviceOnNetwork(said: string): string {
  const install = (name: string): string => `On Debian: apt-get install ${name}.`;
  if (/iptables/.test(said)) return install('iptables');
  if (/\bnft\b/.test(said)) return install('nftables');
  if (/netavark/.test(said)) return install('netavark nftables');
  if (/\bcni\b|plugin/i.test(said)) return install('containernetworking-plugins');
  return 'The message is all that is known; `podman run` of the same image shows it as well.';
}

async function workerImage(resources: DoctorResources, { client, runtime }: Podman): Promise<Finding> {
  const image = imageOf(resources);
  if (!(await runtime.hasImage(image)))
    return image.startsWith('localhost/')
      ? failure(
          `${image} is not on this host, and no registry has it: jobs that name no image will fail`,
          image === BASE_IMAGE
            ? '`flashpods image build base` makes it.'
            : 'Build it, or set FLASHPODS_WORKER_IMAGE.',
        )
      : warning(
          `${image} is not on this host; the first job that names no image waits for it`,
          `podman pull ${image}`,
        );
  if (image !== BASE_IMAGE) return ok(image);
  const labels = await labelsOf(client, image);
  if (labels[LABELS.name] === 'small')
    return ok(
      `${image}, for now the small one: \`flashpods image build base\` makes the one for real builds`,
    );
  const architecture =
    (await printed('dpkg', '--print-architecture')) ?? (await printed('uname', '-m')) ?? '';
  const wanted = inputsOf('base', architecture);
  return wanted === null || labels[LABELS.inputs] === wanted
    ? ok(image)
    : warning(
        `${image} was made of other packages than this version names`,
        '`flashpods image build base` makes it anew.',
      );
}

async function labelsOf(client: Podman['client'], image: string): Promise<Readonly<Record<string, unknown>>> {
  try {
    const { body } = await client.call('GET', join('/images', encodeURIComponent(image), 'json'));
    const labels = isRecord(body) ? body['Labels'] : undefined;
    return isRecord(labels) ? labels : {};
  } catch (error) {
    if (error instanceof PodmanApiError && error.status === 404) return {};
    throw error;
  }
}
