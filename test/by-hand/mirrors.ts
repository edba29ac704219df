/**
 * `npm run mirrors [TOOL…]`: every tool of every image of ours fetches from a TLS mirror with a private CA, in real jobs.
 * Needs the images (`flashpods image build base node python rust go java`), openssl and dpkg-deb, and no network but the
 * host's bridge. Exit status 1 when a tool failed. What runs in every test run is test/containers/mirrors.test.ts.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { mirrorsOf } from '../../src/mirrors/mirrors.ts';
import { holdBridge } from '../support/mirror/bridge.ts';
import { GREETING } from '../support/mirror/content.ts';
import { ACCOUNT, mirrorSettings, startMirror } from '../support/mirror/mirror.ts';
import { TOOLS } from '../support/mirror/tools.ts';
import { type JobOverrides, launch, printed, startTestPodman } from '../support/podman.ts';

/** A JVM on a busy machine takes its time. */
const LONGEST_MS = 300_000;
const wanted = process.argv.slice(2);
const directory = mkdtempSync(join(tmpdir(), 'fp-mirrors-'));
let given: ReturnType<typeof mirrorsOf> | null = null;
const podman = await startTestPodman({ mirrors: { current: () => given } });
let failed = 0;

async function run(job: JobOverrides): Promise<string> {
  const sandbox = await launch(podman.runtime, job);
  await sandbox.waitForExit(AbortSignal.timeout(LONGEST_MS)).catch(() => sandbox.kill());
  const output = printed(sandbox);
  await sandbox.dispose();
  return output;
}

try {
  const bridge = await holdBridge(podman.runtime);
  const mirror = await startMirror(bridge.address, join(directory, 'mirror'));
  const account = `${ACCOUNT.name}:${ACCOUNT.password}@`;
  const urls = [mirror.url, `${mirror.url.replace('//', `//${account}`)}/private`];
  for (const [at, url] of urls.entries()) {
    given = mirrorsOf({ ...mirrorSettings(url), caFile: mirror.caFile });
    for (const { tool, image, root = false, script } of TOOLS) {
      if (wanted.length > 0 && !wanted.includes(tool)) continue;
      const started = performance.now();
      const output = await run({
        image: `localhost/flashpods/${image}:latest`,
        script: `set -e; { ${script(mirror.url)}\n} 2>/tmp/noise || { cat /tmp/noise; false; }; echo done`,
        network: 'internet',
        root,
        memoryBytes: 2 * 2 ** 30,
        diskBytes: 1024 * 2 ** 20,
        cpus: 2,
        pidsLimit: 1024,
      });
      const lines = output.split('\n').filter(Boolean);
      const isGood =
        lines.at(-1) === 'done' &&
        lines.length > 1 &&
        lines.slice(0, -1).every((line) => line.includes(GREETING));
      const isTold = output.includes('s3cr3t');
      if (!isGood || isTold) failed += 1;
      const seconds = ((performance.now() - started) / 1000).toFixed(1);
      console.log(
        `${isGood ? 'ok    ' : 'FAILED'} ${tool.padEnd(8)} ${at === 0 ? 'open   ' : 'account'} ${seconds} s${isTold ? ' – tells the password' : ''}`,
      );
      if (!isGood || isTold) console.log(output.replaceAll(/^/gm, '         '));
    }
  }
  await mirror.close();
  await bridge.close();
} finally {
  await podman.end();
  rmSync(directory, { recursive: true });
}
process.exitCode = failed === 0 ? 0 : 1;
