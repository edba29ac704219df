import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'mocha';

/** An empty directory; short, because unix sockets lie in it. */
export async function temporaryDirectory(): Promise<{ path: string; remove(): Promise<void> }> {
  const path = await mkdtemp(join(tmpdir(), 'fp-'));
  return { path, remove: () => rm(path, { recursive: true, force: true }) };
}

/** A temporary directory of the surrounding suite's own; removed when the suite is over. Call it inside `describe`. */
export function scratch(): { path(...parts: string[]): string; make(): Promise<string> } {
  let dir: Awaited<ReturnType<typeof temporaryDirectory>> | undefined;
  after(() => dir?.remove());
  return {
    async make() {
      dir ??= await temporaryDirectory();
      return dir.path;
    },
    path(...parts) {
      if (!dir) throw new Error('make() first');
      return join(dir.path, ...parts);
    },
  };
}
