/**
 * How fast Flashpods is beside plain `podman run`, measured in the same run on the same machine.
 *
 *   node bench/run.ts            prints the figures
 *   node bench/run.ts --check    and fails when a ratio is beyond twice the one in bench/recorded.json
 *   node bench/run.ts --record   and writes the ratios there
 */
import { spawn } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { BASE_IMAGE } from '../src/containers/base-image.ts';
import { startStack, type Stack } from '../test/support/stack.ts';
import { podmanEnvironment } from './plain-podman.ts';
import { percentile } from './measure.ts';

const RECORDED = new URL('recorded.json', import.meta.url);
const ROUNDS = 30;
const TRIVIAL_JOBS = 80;
/** The same for both; its first line is the time at which it was printed. */
const SCRIPT = 'date +%s%N; echo hello';
const CONCURRENCIES = [2, 4, 8];

interface Ratios {
  /** submit → first line, p50, over `podman run` → first line, p50. Lower is better. */
  firstLine: number;
  /** the same at p95 */
  firstLineP95: number;
  /** jobs per second over those of the best `xargs -P` loop. Higher is better. */
  throughput: number;
}

const ms = (value: number): string => `${value.toFixed(0).padStart(6)} ms`;
const line = (what: string, values: readonly number[]): void => {
  process.stdout.write(
    `  ${what.padEnd(44)} p50 ${ms(percentile(values, 0.5))}   p95 ${ms(percentile(values, 0.95))}\n`,
  );
};

/** Milliseconds from the start of the process to its first byte of output, and to its end. */
function timeCommand(
  command: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
): Promise<{ firstByte: number; end: number }> {
  return new Promise((resolve, reject) => {
    const begun = performance.now();
    let firstByte = Number.NaN;
    const child = spawn(command, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
    let problem = '';
    child.stdout.once('data', () => (firstByte = performance.now() - begun));
    child.stderr.on('data', (chunk: Buffer) => (problem += chunk.toString()));
    child.once('error', reject);
    child.once('close', (code) =>
      code === 0
        ? resolve({ firstByte, end: performance.now() - begun })
        : reject(new Error(`${command} ended with ${code}: ${problem}`)),
    );
  });
}

const runArgs = (command: string): string[] => [
  'run',
  '--rm',
  '--network',
  'none',
  '--cpus',
  '1',
  '--memory',
  '1g',
  BASE_IMAGE,
  '/bin/sh',
  '-c',
  command,
];

/** Submits, and listens to the job's events until the first line is there. */
async function timeFirstLine(
  stack: Stack,
): Promise<{ firstLine: number; terminal: number; exitToTerminal: number; stages: Map<string, number> }> {
  const { caller } = stack;
  const begun = performance.now();
  const wallBegun = Date.now();
  const id = await caller.submit(SCRIPT);
  let firstLine = Number.NaN;
  const ended = caller
    .reached(id, ['completed'])
    .then((job) => ({ job, at: performance.now(), wall: Date.now() }));
  const stream = await caller.fetch(`/jobs/${id}/events`, { headers: { accept: 'text/event-stream' } });
  let heard = '';
  for await (const chunk of stream.body ?? []) {
    heard += Buffer.from(chunk).toString();
    if (!/^event: ?log$/m.test(heard)) continue;
    firstLine = performance.now() - begun;
    break;
  }
  const { job, at, wall } = await ended;
  const printedAt = Number(/(\d{19})/.exec(await caller.output(id))?.[1]) / 1e6;
  const stages = new Map<string, number>();
  const mark = (name: string, from: unknown, to: unknown): void => {
    if (typeof from === 'string' && typeof to === 'string')
      stages.set(name, Date.parse(to) - Date.parse(from));
  };
  mark('accepted → queued', job['created_at'], job['queued_at']);
  mark('queued → starting (dispatch)', job['queued_at'], job['starting_at']);
  mark('starting → started (claim, sandbox, start)', job['starting_at'], job['started_at']);
  mark('ended → terminal (log, remove, artifacts)', job['ended_at'], job['completed_at']);
  stages.set('started → first line printed', printedAt - Date.parse(String(job['started_at'])));
  stages.set('first line printed → read by the caller', wallBegun + firstLine - printedAt);
  stages.set('submitted → accepted', Date.parse(String(job['created_at'])) - wallBegun);
  return { firstLine, terminal: at - begun, exitToTerminal: wall - printedAt, stages };
}

async function throughputOfPodman(concurrency: number, env: NodeJS.ProcessEnv): Promise<number> {
  const loop = `seq ${TRIVIAL_JOBS} | xargs -P ${concurrency} -I{} podman ${runArgs('true').join(' ')}`;
  const { end } = await timeCommand('/bin/sh', ['-c', loop], env);
  return (TRIVIAL_JOBS * 1000) / end;
}

/** Jobs a second with this many of them submitted and not yet ended at any moment. */
async function throughputOfFlashpods(stack: Stack): Promise<number> {
  const begun = performance.now();
  const ids = await Promise.all(Array.from({ length: TRIVIAL_JOBS }, () => stack.caller.submit('true')));
  await Promise.all(ids.map((id) => stack.caller.ended(id, 120_000)));
  return (TRIVIAL_JOBS * 1000) / (performance.now() - begun);
}

async function measure(): Promise<Ratios> {
  const out = (text: string): void => void process.stdout.write(`${text}\n`);
  out(`${availableParallelism()} cpus, image ${BASE_IMAGE}, ${ROUNDS} rounds, network none\n`);
  const podmanFirst: number[] = [];
  const podmanEnd: number[] = [];
  const first: number[] = [];
  const terminal: number[] = [];
  const exitToTerminal: number[] = [];
  const stages = new Map<string, number[]>();

  const single = await startStack({ workers: [{ name: 'bench', cpus: 4, memoryGb: 16 }] });
  try {
    const env = await podmanEnvironment(single);
    for (let warm = 0; warm < 3; warm += 1) {
      await timeCommand('podman', runArgs(SCRIPT), env);
      await timeFirstLine(single);
    }
    // In turn, so that other load on the machine falls on both.
    for (let round = 0; round < ROUNDS; round += 1) {
      const plain = await timeCommand('podman', runArgs(SCRIPT), env);
      podmanFirst.push(plain.firstByte);
      podmanEnd.push(plain.end);
      const ours = await timeFirstLine(single);
      first.push(ours.firstLine);
      terminal.push(ours.terminal);
      exitToTerminal.push(ours.exitToTerminal);
      for (const [name, value] of ours.stages) stages.set(name, [...(stages.get(name) ?? []), value]);
    }
  } finally {
    await single.stop();
  }
  out('one job at a time');
  line('podman run → first line', podmanFirst);
  line('flashpods submit → first line', first);
  line('podman run → end', podmanEnd);
  line('flashpods submit → terminal state seen', terminal);
  line('last line printed → terminal state seen', exitToTerminal);
  out('\nwhere the milliseconds go');
  for (const [name, values] of stages) line(name, values);

  out(`\n${TRIVIAL_JOBS} trivial jobs (\`true\`)`);
  let bestPodman = 0;
  let best = 0;
  for (const concurrency of CONCURRENCIES) {
    const stack = await startStack({ workers: [{ name: 'bench', cpus: concurrency, memoryGb: 16 }] });
    let plain: number;
    let ours: number;
    try {
      plain = await throughputOfPodman(concurrency, await podmanEnvironment(stack));
      ours = await throughputOfFlashpods(stack);
    } finally {
      await stack.stop();
    }
    bestPodman = Math.max(bestPodman, plain);
    best = Math.max(best, ours);
    out(
      `  ${String(concurrency).padStart(2)} at once:  xargs -P podman run ${plain.toFixed(1).padStart(5)} /s   flashpods ${ours.toFixed(1).padStart(5)} /s`,
    );
  }
  const ratios = {
    firstLine: percentile(first, 0.5) / percentile(podmanFirst, 0.5),
    firstLineP95: percentile(first, 0.95) / percentile(podmanFirst, 0.95),
    throughput: best / bestPodman,
  };
  out(`\nratios to plain podman run`);
  out(
    `  submit → first line   p50 ${ratios.firstLine.toFixed(2)} ×   p95 ${ratios.firstLineP95.toFixed(2)} ×   (aim: at most 1.20 ×)`,
  );
  out(`  jobs per second       ${ratios.throughput.toFixed(2)} ×                  (aim: at least 0.90 ×)`);
  return ratios;
}

const ratios = await measure();
if (process.argv.includes('--record')) await writeFile(RECORDED, `${JSON.stringify(ratios, null, 2)}\n`);
if (process.argv.includes('--check')) {
  const recorded = JSON.parse(await readFile(RECORDED, 'utf8')) as Ratios;
  const worse = [
    ratios.firstLine > recorded.firstLine * 2 ? 'submit → first line (p50)' : null,
    ratios.firstLineP95 > recorded.firstLineP95 * 2 ? 'submit → first line (p95)' : null,
    ratios.throughput < recorded.throughput / 2 ? 'jobs per second' : null,
  ].filter((name) => name !== null);
  if (worse.length > 0) {
    process.stderr.write(`beyond twice the recorded ratio: ${worse.join(', ')}\n`);
    process.exitCode = 1;
  } else {
    process.stdout.write('within twice the recorded ratios\n');
  }
}
