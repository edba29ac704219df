/**
 * What logs cost, measured with real processes on this machine.
 *
 *   node bench/logs.ts              prints the figures
 *   node bench/logs.ts --jobs 200   with 200 jobs that print at once (default 40)
 */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { BASE_IMAGE } from '../src/containers/base-image.ts';
import { texts } from '../test/support/http.ts';
import { startStack, type Stack } from '../test/support/stack.ts';
import { podmanEnvironment } from './plain-podman.ts';
import { percentile } from './measure.ts';

const FLOOD_BYTES = 500_000_000;
const FLOOD_ROUNDS = 3;
const LINES = 200;
const TAILS = 300;
const LINES_PER_JOB = 100;

const { values } = parseArgs({ options: { jobs: { type: 'string', default: '40' } } });
const jobsAtOnce = Number(values.jobs);

const out = (text: string): void => void process.stdout.write(`${text}\n`);

/** Prints `FLOOD_BYTES`, and says on stderr how many milliseconds that took by its own clock. */
const FLOOD = [
  'line=$(printf "%099d" 7)',
  'begun=$(date +%s%3N)',
  `yes "$line" | head -c ${FLOOD_BYTES}`,
  'took=$(($(date +%s%3N) - begun))',
].join('; ');

async function floodOfPodman(stack: Stack): Promise<number> {
  const file = join(stack.dir, 'flood.out');
  const run = `podman run --rm --network none --cpus 1 --memory 1g ${BASE_IMAGE} sh -c '${FLOOD}; echo $took >&2' > ${file}`;
  const child = spawn('/bin/sh', ['-c', run], {
    env: await podmanEnvironment(stack),
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let said = '';
  child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()));
  const code = await new Promise((ended) => child.once('close', ended));
  if (code !== 0) throw new Error(`podman run ended with ${String(code)}: ${said}`);
  return Number(said.trim());
}

async function floodOfFlashpods({ caller }: Stack): Promise<number> {
  const id = await caller.submit(`${FLOOD}; echo $took > /artifacts/took`);
  const job = await caller.ended(id, 300_000);
  if (job.status !== 'completed' || job['log_truncated'] !== true) throw new Error(JSON.stringify(job));
  return Number(await (await caller.fetch(`/jobs/${id}/artifacts/took`)).text());
}

/** Milliseconds between the print of a line and the moment at which a poller of the API has it. */
async function lineLatencies({ caller }: Stack): Promise<number[]> {
  const command = `for i in $(seq ${LINES}); do echo $EPOCHREALTIME; sleep 0.05; done`;
  const id = await caller.submit(`exec bash -c '${command}'`);
  const latencies: number[] = [];
  let offset = 0;
  while (latencies.length < LINES) {
    const response = await caller.fetch(`/jobs/${id}/output?offset=${offset}`);
    const now = performance.timeOrigin + performance.now();
    if (response.status === 200) {
      const page = (await response.json()) as { output: string; next_offset: number };
      offset = page.next_offset;
      for (const text of texts(page.output)) {
        if (/^\d+\.\d{6}$/.test(text)) latencies.push(now - Number(text) * 1000);
      }
    }
    await delay(2);
  }
  await caller.ended(id);
  return latencies;
}

async function tailTimes({ caller }: Stack): Promise<{ small: number[]; large: number[] }> {
  const printer = async (lines: number): Promise<string> => {
    const id = await caller.submit(`yes "$(printf "%099d" 7)" | head -n ${lines}`);
    await caller.ended(id);
    return id;
  };
  const [small, large] = await Promise.all([printer(150), printer(430_000)]);
  const times: { small: number[]; large: number[] } = { small: [], large: [] };
  // In turn, so that other load on the machine falls on both.
  for (let round = -20; round < TAILS; round++) {
    for (const [name, id] of [
      ['small', small],
      ['large', large],
    ] as const) {
      const begun = performance.now();
      const response = await caller.fetch(`/jobs/${id}/output?tail=100`);
      await response.arrayBuffer();
      if (round >= 0) times[name].push(performance.now() - begun);
    }
  }
  return times;
}

/** Many printers at once; every line of each must be in its log once and in order. */
async function crowd({ caller }: Stack): Promise<{ seconds: number; peak: number }> {
  const command = `for i in $(seq ${LINES_PER_JOB}); do echo "$FLASHPODS_JOB_ID $i"; [ $((i % 10)) = 0 ] && sleep 1; done; true`;
  const begun = performance.now();
  const ids = await Promise.all(Array.from({ length: jobsAtOnce }, () => caller.submit(command)));
  let peak = 0;
  let ending = false;
  const watching = (async () => {
    while (!ending) {
      const { body } = await caller.json<{ total: number }>('GET', '/jobs?status=running&limit=1');
      peak = Math.max(peak, body.total);
      await delay(200);
    }
  })();
  try {
    for (const id of ids) {
      const job = await caller.ended(id, 600_000);
      const expected = Array.from({ length: LINES_PER_JOB }, (_, i) => `${id} ${i + 1}`);
      const printed = texts(await caller.output(id)).filter((text) => text.startsWith(id));
      if (job.status !== 'completed' || printed.join('\n') !== expected.join('\n')) {
        throw new Error(`the log of ${id} (${job.status}) holds ${printed.length} of ${LINES_PER_JOB} lines`);
      }
    }
  } finally {
    ending = true;
    await watching;
  }
  return { seconds: (performance.now() - begun) / 1000, peak };
}

const stack = await startStack({
  workers: [{ name: 'bench', cpus: Math.max(4, jobsAtOnce), memoryGb: Math.max(16, jobsAtOnce) }],
});
try {
  await floodOfPodman(stack);
  const plain: number[] = [];
  const ours: number[] = [];
  for (let round = 0; round < FLOOD_ROUNDS; round++) {
    plain.push(await floodOfPodman(stack));
    ours.push(await floodOfFlashpods(stack));
  }
  const ratio = percentile(ours, 0.5) / percentile(plain, 0.5);
  out(`a command that prints ${FLOOD_BYTES / 1e6} MB, by its own clock (log limit 50 MB)`);
  out(`  podman run > file   ${plain.map((ms) => `${ms} ms`).join('  ')}`);
  out(`  flashpods           ${ours.map((ms) => `${ms} ms`).join('  ')}`);
  out(`  ratio of medians    ${ratio.toFixed(2)} ×   (aim: at most 1.20 ×)`);

  const latencies = await lineLatencies(stack);
  const shown = [0.5, 0.95, 1].map((share) => percentile(latencies, share).toFixed(1));
  out(`\nprinted → read through the API, ${LINES} lines, one every 50 ms`);
  out(`  p50 ${shown[0]} ms   p95 ${shown[1]} ms   max ${shown[2]} ms   (aim: p95 under 100 ms)`);

  const { small, large } = await tailTimes(stack);
  const [ofSmall, ofLarge] = [percentile(small, 0.5), percentile(large, 0.5)];
  out('\n`GET …/output?tail=100`, p50');
  out(`  log of 17 kB ${ofSmall.toFixed(2)} ms   log of 49 MB ${ofLarge.toFixed(2)} ms`);
  out(`  ratio ${(ofLarge / ofSmall).toFixed(2)} ×   (aim: at most 2 ×)`);

  const { seconds, peak } = await crowd(stack);
  out(`\n${jobsAtOnce} jobs that print ${LINES_PER_JOB} lines each in 10 s: every line once, in order`);
  out(`  ${seconds.toFixed(0)} s, at most ${peak} of them running at once`);
} finally {
  await stack.stop();
}
