/**
 * A storm at full size: 200 jobs over four workers, 500 kills, some 13 minutes. Prints the table that
 * docs/reliability.md publishes, and fails on any violation.
 *
 *   node bench/storm.ts [--jobs 200] [--kills 500] [--seed N]
 */
import { parseArgs } from 'node:util';
import { runStorm } from '../test/faults/storm/storm.ts';
import { tableOf } from '../test/faults/storm/table.ts';

const { values } = parseArgs({
  options: {
    jobs: { type: 'string', default: '200' },
    kills: { type: 'string', default: '500' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
  },
});
const [jobs, kills, seed] = [values.jobs, values.kills, values.seed].map((value, index) => {
  const number = Number(value);
  if (!Number.isInteger(number) || number < 0) {
    process.stderr.write(`--${['jobs', 'kills', 'seed'][index]} takes a whole number, not ${value}\n`);
    process.exit(2);
  }
  return number;
}) as [number, number, number];

process.stdout.write(`storm of ${kills} kills over ${jobs} jobs, seed ${seed}\n`);
const report = await runStorm({
  jobs,
  kills,
  seed,
  tell: (line) => process.stdout.write(`  ${new Date().toISOString().slice(11, 19)} ${line}\n`),
});
process.stdout.write(`${tableOf(report, seed)}\n`);
process.exitCode = report.violations.length === 0 ? 0 : 1;
