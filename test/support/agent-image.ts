/** Small images on top of the base image, for the time of a suite. Their agent does what its task says: it is a script. */
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
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
