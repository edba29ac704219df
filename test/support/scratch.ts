import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'mocha';

/** An empty directory of the surrounding suite's own; removed when the suite is over. Call it inside `describe`. */
export function scratch(): { path(...parts: string[]): string; make(): Promise<string> } {
  let dir: string | undefined;
  after(async () => {
    if (dir) await rm(dir, { recursive: true, force: true });
  });
  return {
    async make() {
      return (dir ??= await mkdtemp(join(tmpdir(), 'fp-')));
    },
    path(...parts) {
      if (!dir) throw new Error('make() first');
      return join(dir, ...parts);
    },
  };
}
