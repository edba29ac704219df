/**
 * How a sandbox's mounts are made on this host, by their kind. A `layered` one is the snapshot with a layer on the job's
 * disk over it: others share the snapshot, or files of it, so no writer may ever reach what is stored.
 */
import { chmodSync, chownSync, existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Mount } from '../../mounts.ts';
import type { DiskDirectory } from '../disks/disk.ts';
import { mountsBelow } from '../disks/mounts.ts';
import { command } from '../host/command.ts';
import type { SandboxPaths } from './paths.ts';

export interface Bind {
  readonly source: string;
  readonly target: string;
  readonly writable: boolean;
  /** Others may bind the same directory. */
  readonly shared: boolean;
}

const FILE_NAME = /^[a-z][a-z0-9-]*$/;

/** What has to be on the job's disk from its beginning. */
export const directoriesOf = (mounts: readonly Mount[]): DiskDirectory[] =>
  mounts.flatMap((mount) => {
    const { kind, directory } = mount;
    if (kind === 'disk') return [{ name: directory, mode: mount.mode }];
    if (kind !== 'layered') return [];
    return [
      { name: directory, mode: 0o755 },
      { name: `${directory}-changes`, mode: 0o755 },
      { name: `${directory}-overlay`, mode: 0o700 },
    ];
  });

/** What Podman is told of a mount. */
export function bindOf(paths: SandboxPaths, mount: Mount): Bind {
  const { kind, target, directory } = mount;
  switch (kind) {
    case 'disk':
    case 'layered':
    case 'cache':
      return { source: join(paths.disk, directory), target, writable: true, shared: false };
    case 'snapshot': {
      const source = mount.source ?? join(paths.directory, directory);
      return { source, target, writable: false, shared: true };
    }
    case 'files':
      return { source: join(paths.directory, directory), target, writable: false, shared: false };
  }
}

/** What Podman is told of a mount where a root of ours has all that a job may write to; see rootfs/writable-root.ts. */
export function bindOver(paths: SandboxPaths, mount: Mount): Bind[] {
  if (mount.kind === 'disk' || mount.kind === 'layered') return [];
  // An upload is mounted there with the job's user as its owner.
  return [{ ...bindOf(paths, mount), source: join(paths.directory, mount.directory) }];
}

/** Makes what of a mount is not on the disk. Idempotent. @param owner host id of an empty directory */
export function prepareMount(paths: SandboxPaths, mount: Mount, owner: number | null): void {
  const path = join(paths.directory, mount.directory);
  if (mount.kind === 'cache') return void mkdirSync(path, { recursive: true });
  if (mount.kind === 'files') return writeFiles(path, mount.files);
  if (mount.kind !== 'snapshot') return;
  mkdirSync(path, { recursive: true });
  if (mount.source !== null) return;
  if (owner !== null) chownSync(path, owner, owner);
  chmodSync(path, 0o755);
}

/** Where no root is ours, a cache is an empty directory of the job's disk, which must be there. @param owner host id, null: this process's */
function makeCacheDirectory({ disk }: SandboxPaths, { directory }: Mount, owner: number | null): void {
  const path = join(disk, directory);
  if (existsSync(path)) return;
  mkdirSync(path, { recursive: true });
  if (owner !== null) chownSync(path, owner, owner);
  chmodSync(path, 0o777);
}

/** Readable by any user of the image, and a script can be run. They lie in the sandbox, which only we may enter. */
function writeFiles(directory: string, files: Readonly<Record<string, string>>): void {
  mkdirSync(directory, { recursive: true });
  for (const [name, content] of Object.entries(files)) {
    if (!FILE_NAME.test(name)) throw new Error(`not a name for a file of a job: ${JSON.stringify(name)}`);
    const path = join(directory, name);
    rmSync(path, { force: true }); // its mode lets nobody write to it, not even its owner
    writeFileSync(path, content);
    chmodSync(path, content.startsWith('#!') ? 0o555 : 0o444);
  }
  chmodSync(directory, 0o755); // the umask may have made it less
}

/** Lays a `layered` mount over its snapshot; the job's disk must be there. Idempotent, and nothing for other kinds. */
export async function layMount(paths: SandboxPaths, mount: Mount, owner: number | null): Promise<void> {
  if (mount.kind === 'cache') return makeCacheDirectory(paths, mount, owner);
  if (mount.kind !== 'layered' || mount.source === null) return;
  const target = join(paths.disk, mount.directory);
  if (process.getuid?.() !== 0) {
    // Without the right to mount it is a copy, which costs no space where the file system can share blocks.
    // Marked once it is whole: the job may have changed it by the next time.
    const laid = join(paths.directory, `${mount.directory}.laid`);
    if (existsSync(laid)) return;
    await command('cp', '-a', '--reflink=auto', `${mount.source}/.`, target);
    writeFileSync(laid, '');
    return;
  }
  if (mountsBelow(target).length > 0) return;
  const layers = { lowerdir: mount.source, upperdir: `${target}-changes`, workdir: `${target}-overlay` };
  const options = Object.entries(layers).map(([name, path]) => `${name}=${path.replace(/[\\:,]/g, '\\$&')}`);
  const flags = ['nosuid', 'nodev', ...options].join(',');
  await command('mount', '-n', '-t', 'overlay', '-o', flags, mount.directory, target);
}
