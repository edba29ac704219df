/** Small images on top of the base image, for the time of a suite. Their agent does what its task says: it is a script. */
import { execFile } from 'node:child_process';
import { copyFile, mkdir, mkdtemp, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { BASE_IMAGE } from '../../src/containers/base-image.ts';

const run = promisify(execFile);

export const AGENT_ENTRYPOINT = 'ENTRYPOINT ["/bin/bash", "-c", ". /run/flashpods/task"]';

export interface TestImage {
  readonly name: string;
  remove(): Promise<void>;
}

let made = 0;

/**
 * An image of this machine's `/bin/sh` with the libraries that it needs, and of nothing else but the given programs,
 * which are shell scripts.
 * @param arrange changes its files, as a shell script that runs in its root directory, which is no root to it
 */
export async function makeBareImage(
  programs: Readonly<Record<string, string>> = {},
  changes: readonly string[] = [],
  arrange = ':',
): Promise<TestImage> {
  const name = `localhost/flashpods/test-bare-${process.pid}-${(made += 1)}:latest`;
  const directory = await mkdtemp(join(tmpdir(), 'fp-image-'));
  try {
    const root = join(directory, 'root');
    const shell = await realpath('/bin/sh');
    const { stdout } = await run('ldd', [shell]);
    const libraries = [...stdout.matchAll(/(\/\S+) \(0x/g)].map(([, path = '']) => path);
    for (const [from, to] of [
      ['/bin/sh', shell] as const,
      ...libraries.map((path) => [path, path] as const),
    ]) {
      await mkdir(dirname(join(root, from)), { recursive: true });
      await copyFile(to, join(root, from));
    }
    for (const [path, script] of Object.entries(programs)) {
      await mkdir(dirname(join(root, path)), { recursive: true });
      await writeFile(join(root, path), script, { mode: 0o755 });
    }
    const tar = join(directory, 'root.tar');
    await run('sh', ['-euc', arrange], { cwd: root });
    await run('tar', ['-C', root, '--owner=0', '--group=0', '-cf', tar, '.']);
    await run('podman', [
      'import',
      '--quiet',
      ...changes.flatMap((change) => ['--change', change]),
      tar,
      name,
    ]);
  } finally {
    await rm(directory, { recursive: true });
  }
  return { name, remove: async () => void (await run('podman', ['image', 'rm', '--force', name])) };
}

/**
 * @param lines what follows FROM
 * @param files that the lines may copy, by name
 */
export async function makeImage(
  lines: readonly string[] = [AGENT_ENTRYPOINT],
  files: Readonly<Record<string, string>> = {},
): Promise<TestImage> {
  const name = `localhost/flashpods/test-agent-${process.pid}-${(made += 1)}:latest`;
  const directory = await mkdtemp(join(tmpdir(), 'fp-image-'));
  try {
    for (const [file, content] of Object.entries(files)) await writeFile(join(directory, file), content);
    await writeFile(join(directory, 'Containerfile'), [`FROM ${BASE_IMAGE}`, ...lines, ''].join('\n'));
    await run('podman', ['build', '--quiet', '--tag', name, directory]);
  } finally {
    await rm(directory, { recursive: true });
  }
  return { name, remove: async () => void (await run('podman', ['image', 'rm', '--force', name])) };
}
