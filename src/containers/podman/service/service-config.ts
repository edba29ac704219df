/** The private configuration of the Podman that we start: only what this host needs, chosen by trying. */
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { messageOf } from '../../../errors.ts';
import { NPROC } from '../container/create-spec.ts';
import { command } from '../host/command.ts';
import { INOTIFY_HOOK } from '../host/inotify.ts';
import { hardLimits } from '../host/probes.ts';

const run = promisify(execFile);

/**
 * Conmon without the command that it would run after its container's end. That command is a whole
 * `podman container cleanup`, 50–80 ms of processor time a container, and it takes the container's cgroup away
 * before anybody has read what the kernel counted there. `remove` does the same work inside the running service.
 */
const CONMON_WRAPPER = (conmon: string): string => `#!/bin/sh
# Written by flashpods; see src/containers/podman/service/service-config.ts.
left=$#
while [ "$left" -gt 0 ]; do
  argument=$1
  shift
  left=$((left - 1))
  case $argument in
    --exit-command | --exit-command-arg)
      shift
      left=$((left - 1))
      ;;
    *) set -- "$@" "$argument" ;;
  esac
done
exec ${conmon} "$@"
`;

/** Where Podman looks by itself. */
const HOOKS_OF_HOST = ['/usr/share/containers/oci/hooks.d', '/etc/containers/oci/hooks.d'];

export interface ServiceConfig {
  readonly environment: Readonly<Record<string, string>>;
  readonly ociRuntime: string;
  readonly notes: readonly string[];
}

export interface ServiceConfigOptions {
  readonly runDir: string;
  /** Null leaves Podman's own choice. */
  readonly cgroupManager: 'cgroupfs' | null;
  /** Whether the service has a storage root of its own. */
  readonly ownStorage?: boolean;
}

export async function writeServiceConfig(options: ServiceConfigOptions): Promise<ServiceConfig> {
  const { runDir, cgroupManager, ownStorage = false } = options;
  const { name: ociRuntime, notes } = await chooseOciRuntime(runDir);
  const conmon = await programPath('conmon');
  const wrapper = join(runDir, 'conmon');
  if (conmon !== null) writeFileSync(wrapper, CONMON_WRAPPER(conmon), { mode: 0o755 });
  const hooks = join(runDir, 'hooks');
  mkdirSync(hooks, { recursive: true, mode: 0o700 });
  writeFileSync(join(hooks, 'inotify'), INOTIFY_HOOK, { mode: 0o755 });
  writeFileSync(
    join(hooks, 'inotify.json'),
    JSON.stringify({
      version: '1.0.0',
      hook: { path: join(hooks, 'inotify') },
      when: { always: true },
      stages: ['createRuntime'],
    }),
  );
  const { nofile, nproc } = hardLimits();
  const limit = (name: string, hard: number, wanted: number): string =>
    `"${name}=${Math.min(wanted, hard)}:${Math.min(wanted, hard)}"`;
  const lines = [
    '# Written by flashpods at every start of its Podman service.',
    '[containers]',
    // More than the hard limits of this process would be refused.
    `default_ulimits = [${limit('nofile', nofile, 65_536)}, ${limit('nproc', nproc, NPROC)}]`,
    // Else a job reads in /etc/hosts what this machine and its neighbours are called.
    'base_hosts_file = "none"',
    'host_containers_internal_ip = "none"',
    // The kernel counts keyrings by host id, and all jobs share one range: a job could use up everybody's.
    'keyring = false',
    '[engine]',
    `runtime = ${JSON.stringify(ociRuntime)}`,
    ...(cgroupManager === null ? [] : [`cgroup_manager = "${cgroupManager}"`]),
    'events_logger = "none"',
    // A GPU's hook of this host stays.
    `hooks_dir = ${JSON.stringify([...HOOKS_OF_HOST.filter((directory) => existsSync(directory)), hooks])}`,
    // Locks in shared memory belong to all storages of a machine; starting another one frees those in use.
    ...(ownStorage ? ['lock_type = "file"'] : []),
    ...(conmon === null ? [] : [`conmon_path = [${JSON.stringify(wrapper)}]`]),
  ];
  const file = join(runDir, 'containers.conf');
  writeFileSync(file, `${lines.join('\n')}\n`, { mode: 0o644 });
  return { environment: { [await configVariable()]: file }, ociRuntime, notes };
}

/** @returns where a program is, also in the directories that only root's PATH has; null when it is not installed */
async function programPath(name: string): Promise<string | null> {
  const path = '$PATH:/usr/local/sbin:/usr/sbin:/sbin:/usr/libexec/podman:/usr/lib/podman';
  const output = await command('/bin/sh', '-c', `PATH="${path}"; command -v "$1" || true`, 'sh', name);
  return output.trim() || null;
}

/** From 4.6 on a file can be added to the host's own configuration; before, it could only take its place. */
async function configVariable(): Promise<string> {
  const [major = 0, minor = 0] =
    /(\d+)\.(\d+)/
      .exec(await command('podman', '--version'))
      ?.slice(1)
      .map(Number) ?? [];
  return major > 4 || (major === 4 && minor >= 6) ? 'CONTAINERS_CONF_OVERRIDE' : 'CONTAINERS_CONF';
}

/** crun where it works: it needs a third of runc's time. */
async function chooseOciRuntime(runDir: string): Promise<{ name: string; notes: readonly string[] }> {
  if ((await programPath('crun')) === null) return { name: 'runc', notes: [] };
  const refusal = await crunRefusal(runDir);
  if (refusal === null || (await programPath('runc')) === null) return { name: 'crun', notes: [] };
  return { name: 'runc', notes: [`runc, because crun says: ${refusal}`] };
}

/**
 * Runs a container without a program in it: crun looks at the host's cgroups before it looks for the program.
 * @returns what crun has against this host, or null
 */
async function crunRefusal(runDir: string): Promise<string | null> {
  const bundle = mkdtempSync(join(runDir, 'crun-'));
  const id = `flashpods-probe-${process.pid}`;
  try {
    mkdirSync(join(bundle, 'rootfs'));
    await run('crun', ['spec', ...(process.getuid?.() === 0 ? [] : ['--rootless'])], {
      cwd: bundle,
      timeout: 10_000,
    });
    // Without a directory for its state, an ordinary user's crun may end before it has looked.
    const state = join(bundle, 'state');
    await run('crun', ['--root', state, '--cgroup-manager=cgroupfs', 'run', '--bundle', bundle, id], {
      cwd: bundle,
      timeout: 10_000,
    });
    return null;
  } catch (error) {
    const said = error instanceof Error && 'stderr' in error ? String(error.stderr) : messageOf(error);
    return /cgroup|hybrid/i.test(said) ? (said.trim().split('\n').at(-1) ?? said) : null;
  } finally {
    rmSync(bundle, { recursive: true, force: true });
  }
}
