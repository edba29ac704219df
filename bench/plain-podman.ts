/** The baseline of the benchmarks: Podman's command line beside the installation that is measured. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Stack } from '../test/support/stack.ts';

/** What the command line needs on this host so that plain Podman works at all, and nothing else. */
export async function podmanEnvironment(stack: Stack): Promise<NodeJS.ProcessEnv> {
  const file = join(stack.dir, 'plain-containers.conf');
  const lines = [
    '[engine]',
    `runtime = "${stack.podman.ociRuntime}"`,
    'cgroup_manager = "cgroupfs"',
    '[containers]',
    'default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]',
  ];
  await writeFile(file, `${lines.join('\n')}\n`);
  return { ...process.env, CONTAINERS_CONF: file };
}
