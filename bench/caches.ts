/**
 * What caches cost and what they save, measured in the same run on the same machine.
 *
 *   node bench/caches.ts [--files 200000] [--mb 6000] [--runs 7] [--tools]
 *
 * First: a job over a cache of that size beside the same job without one, and beside `podman run`. Then,
 * with `--tools` (it takes the images, and openssl and dpkg-deb): a package manager's second run over the cache that its
 * first one wrote, against a registry of the bench that counts what is asked for. Exit status 1 when a package is fetched
 * a second time.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { KNOWN_CACHES } from '../src/caches/known.ts';
import { BASE_IMAGE } from '../src/containers/base-image.ts';
import { type CacheMount, cacheMount } from '../src/containers/mounts.ts';
import { mirrorsOf } from '../src/mirrors/mirrors.ts';
import { holdBridge } from '../test/support/mirror/bridge.ts';
import { GREETING } from '../test/support/mirror/content.ts';
import { mirrorSettings, startMirror } from '../test/support/mirror/mirror.ts';
import { TOOLS } from '../test/support/mirror/tools.ts';
import { finished, type JobOverrides, launch, printed, startTestPodman } from '../test/support/podman.ts';
import { percentile } from './measure.ts';

const { values } = parseArgs({
  options: {
    files: { type: 'string', default: '200000' },
    mb: { type: 'string', default: '6000' },
    runs: { type: 'string', default: '7' },
    tools: { type: 'boolean', default: false },
  },
});
const FILES_A_DIRECTORY = 1_000;
const PLACE = '/opt/cache';
const NEVER = new AbortController().signal;

const directory = mkdtempSync(join(tmpdir(), 'fp-bench-caches-'));
let given: ReturnType<typeof mirrorsOf> | null = null;
const podman = await startTestPodman({ mirrors: { current: () => given } });

/** A layer of that number of files, of that size together. */
function makeLayer(files: number, bytes: number): string {
  const layer = join(directory, 'large');
  const content = Buffer.alloc(Math.floor(bytes / files), 'x');
  for (let n = 0; n < files; n++) {
    const place = join(layer, String(Math.floor(n / FILES_A_DIRECTORY)));
    if (n % FILES_A_DIRECTORY === 0) mkdirSync(place, { recursive: true });
    writeFileSync(join(place, String(n)), content);
  }
  return layer;
}

/** Milliseconds until its sandbox has been bound and started, and until the job has ended. */
async function timeJob(moreMounts: readonly CacheMount[]): Promise<{ start: number; end: number }> {
  const begun = performance.now();
  const sandbox = await launch(podman.runtime, { script: 'true', moreMounts });
  const start = performance.now() - begun;
  await finished(sandbox);
  const end = performance.now() - begun;
  await sandbox.dispose();
  return { start, end };
}

function timePodman(): number {
  const begun = performance.now();
  const url = `unix://${podman.service.socketPath}`;
  const args = ['--remote', '--url', url, 'run', '--rm', '--network', 'none', BASE_IMAGE, 'true'];
  execFileSync('podman', args, { stdio: ['ignore', 'ignore', 'inherit'] });
  return performance.now() - begun;
}

const say = (what: string, times: readonly number[]): number => {
  const median = percentile(times, 0.5);
  const p95 = percentile(times, 0.95);
  process.stdout.write(
    `  ${what.padEnd(52)} p50 ${median.toFixed(0).padStart(6)} ms   p95 ${p95.toFixed(0).padStart(6)} ms\n`,
  );
  return median;
};

async function measureMounts(): Promise<void> {
  const [files, mb, runs] = [Number(values.files), Number(values.mb), Number(values.runs)];
  const mounts = [cacheMount(0, PLACE, [makeLayer(files, mb * 2 ** 20)])];
  const [without, over, plain]: [number[], number[], number[]] = [[], [], []];
  const [starts, warmStarts]: [number[], number[]] = [[], []];
  await timeJob([]); // the layers of the image are mapped
  for (let run = 0; run < runs; run++) {
    plain.push(timePodman());
    const bare = await timeJob([]);
    const cached = await timeJob(mounts);
    without.push(bare.end);
    over.push(cached.end);
    starts.push(bare.start);
    warmStarts.push(cached.start);
  }
  process.stdout.write(`a cache of ${files} files, ${mb} MB\n`);
  const podmanRun = say('podman run … true', plain);
  say('job without a cache', without);
  const cached = say('job with it', over);
  const added = percentile(warmStarts, 0.5) - percentile(starts, 0.5);
  process.stdout.write(
    `  what the cache adds to a start                       p50 ${added.toFixed(0).padStart(6)} ms\n` +
      `  job with it / podman run                             ${(cached / podmanRun).toFixed(2)}\n`,
  );
}

/** What is a package of each registry, and not its index. */
const isPackage = (path: string): boolean => /\.(?:tgz|whl|deb|crate|zip|pom|jar)$|\/download$/.test(path);

async function measureTools(): Promise<boolean> {
  const bridge = await holdBridge(podman.runtime);
  const mirror = await startMirror(bridge.address, join(directory, 'mirror'));
  given = mirrorsOf({ ...mirrorSettings(mirror.url), caFile: mirror.caFile });
  let isGood = true;
  try {
    for (const { tool, image, root = false, script } of TOOLS) {
      const known = Object.hasOwn(KNOWN_CACHES, tool) ? KNOWN_CACHES[tool] : undefined;
      const name = `localhost/flashpods/${image}:latest`;
      if (known === undefined || !(await podman.runtime.hasImage(name))) continue;
      const layers: string[] = [];
      const seen: { packages: number; ms: number }[] = [];
      for (let run = 0; run < 2; run++) {
        mirror.asked.length = 0;
        const begun = performance.now();
        const job: JobOverrides = {
          image: name,
          root,
          network: 'internet',
          script: script(mirror.url),
          env: known.env(known.path),
          runFiles: known.files?.(known.path) ?? {},
          moreMounts: [cacheMount(0, known.path, layers)],
          memoryBytes: 2 * 2 ** 30,
          diskBytes: 1024 * 2 ** 20,
          cpus: 2,
          pidsLimit: 1024,
        };
        const sandbox = await launch(podman.runtime, job);
        await sandbox.waitForExit(AbortSignal.timeout(300_000));
        seen.push({ packages: mirror.asked.filter(isPackage).length, ms: performance.now() - begun });
        const output = printed(sandbox);
        if (!output.includes(GREETING)) throw new Error(`${tool}: ${output}`);
        await sandbox.remove();
        const [mount] = sandbox.caches;
        const layer = join(directory, `${tool}-${run}`);
        if (mount && (await sandbox.saveCache(mount, layer, () => Promise.resolve(), NEVER)) !== null)
          layers.unshift(layer);
        await sandbox.dispose();
      }
      const [first, second] = seen;
      if (second?.packages !== 0) isGood = false;
      process.stdout.write(
        `  ${tool.padEnd(8)} packages fetched: ${first?.packages}, then ${second?.packages};   ${first?.ms.toFixed(0)} ms, then ${second?.ms.toFixed(0)} ms\n`,
      );
    }
  } finally {
    await mirror.close();
    await bridge.close();
  }
  return isGood;
}

try {
  await measureMounts();
  if (values.tools && !(await measureTools())) process.exitCode = 1;
} finally {
  await podman.end();
  for (const name of readdirSync(directory)) rmSync(join(directory, name), { recursive: true });
  rmSync(directory, { recursive: true });
}
