import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { beforeEach, describe, it } from 'mocha';
import { scratch } from '../support/scratch.ts';

const SCRIPT = fileURLToPath(new URL('../../scripts/node.bash', import.meta.url));

describe('the choice of Node', () => {
  const directory = scratch();
  let root = '';
  let count = 0;
  beforeEach(async () => {
    await directory.make();
    root = directory.path(`checkout-${(count += 1)}`);
    await mkdir(`${root}/path`, { recursive: true });
  });

  const fake = (folder: string, version: string): Promise<void> =>
    mkdir(folder, { recursive: true }).then(() =>
      writeFile(`${folder}/node`, `#!/bin/sh\necho ${version}\n`, { mode: 0o755 }),
    );
  /** The version of the Node that is used, or null when none will do. */
  const chosen = (): Promise<string | null> =>
    new Promise((resolve) => {
      const script = `root=${root}; source ${SCRIPT}; use_node && node --version`;
      const env = { PATH: `${root}/path:/usr/bin:/bin` };
      execFile('/bin/bash', ['-euc', script], { env }, (error, stdout) =>
        resolve(error ? null : stdout.trim()),
      );
    });

  for (const version of ['v22.18.0', 'v22.20.1', 'v23.6.0', 'v24.0.0', 'v26.1.0']) {
    it(`takes ${version} as it is`, async () => {
      await fake(`${root}/path`, version);
      assert.equal(await chosen(), version);
    });
  }
  for (const version of ['v18.19.0', 'v20.20.2', 'v22.17.9', 'v23.5.0', 'nonsense']) {
    it(`does not take ${version}`, async () => {
      await fake(`${root}/path`, version);
      assert.equal(await chosen(), null);
    });
  }
  it('takes the fetched one before the one on the PATH', async () => {
    await fake(`${root}/path`, 'v20.20.2');
    await fake(`${root}/.node/node/bin`, 'v24.21.0');
    assert.equal(await chosen(), 'v24.21.0');
  });
});
