import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { copyFile, mkdir, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { before, describe, it } from 'mocha';
import { bundleCompletion } from '../../scripts/bundle-completion.ts';
import { scratch } from '../support/scratch.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const LAUNCHER = ['flashpods', 'scripts/node.bash', 'scripts/completion.bash'];
const run = promisify(execFile);

describe('the one file that completion loads', () => {
  const directory = scratch();
  before(() => directory.make());

  it('is not used where it is missing, or older than a part of it', async () => {
    const root = directory.path('a checkout');
    for (const dir of ['.node', 'bin', 'scripts', 'node_modules', 'src/client'])
      await mkdir(join(root, dir), { recursive: true });
    for (const file of LAUNCHER) await copyFile(join(ROOT, file), join(root, file));
    const parts = [join(root, 'bin/complete.ts'), join(root, 'src/client/connection.ts')];
    for (const part of parts) await writeFile(part, 'console.log("parts", ...process.argv.slice(2));');
    const answer = async (): Promise<string> =>
      (await run(join(root, 'flashpods'), ['__complete', 'logs', ''])).stdout.trim();

    assert.equal(await answer(), 'parts logs');
    const bundle = join(root, '.node/complete.mjs');
    await writeFile(bundle, 'console.log("one file", ...process.argv.slice(2));');
    for (const part of parts) await utimes(part, 1_000, 1_000);
    await utimes(bundle, 2_000, 2_000);
    assert.equal(await answer(), 'one file logs');
    for (const part of parts) {
      await utimes(part, 3_000, 3_000);
      assert.equal(await answer(), 'parts logs', part);
      await utimes(part, 1_000, 1_000);
    }
    assert.equal(await answer(), 'one file logs');
  });

  it('has all of its parts watched', async () => {
    const made = await bundleCompletion(join(ROOT, 'bin/complete.ts'), directory.path('complete.mjs'));
    const list = 'source "$root/scripts/completion.bash"; printf "%s\\n" "${completion_parts[@]}"';
    const { stdout } = await run('bash', ['-c', list], {
      env: { ...process.env, root: ROOT.replace(/\/$/, '') },
    });
    const watched = new Set(stdout.trim().split('\n'));
    const own = made.filter((id) => id.startsWith(ROOT));
    assert.ok(own.includes(join(ROOT, 'src/client/connection.ts')), made.join('\n'));
    assert.deepEqual(
      own.filter((id) => !watched.has(id)),
      [],
    );
  });
});
