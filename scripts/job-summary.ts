/** Reads what `flashpods ps --json` prints and tells a person about its first job. Ends with 1 when it lists none. */
import { text } from 'node:stream/consumers';

interface Job {
  readonly id: string;
  readonly status: string;
  readonly host?: string | null;
  readonly image?: string;
  readonly exit_code?: number | null;
  readonly created_at: string;
  readonly started_at?: string | null;
  readonly completed_at?: string | null;
}

const { jobs } = JSON.parse(await text(process.stdin)) as { jobs: readonly Job[] };
const job = jobs[0];
if (!job) {
  process.exitCode = 1;
} else {
  const between = (from: string, to: string): string =>
    `${((Date.parse(to) - Date.parse(from)) / 1_000).toFixed(1)} s`;
  const rows = [
    ['job', job.id],
    ['ended', `${job.status}, exit code ${job.exit_code ?? 'unknown'}`],
    ['host', job.host ?? 'none'],
    ['image', job.image ?? 'unknown'],
  ];
  if (job.started_at) rows.push(['started', `after ${between(job.created_at, job.started_at)}`]);
  if (job.started_at && job.completed_at) rows.push(['ran', between(job.started_at, job.completed_at)]);
  for (const [name, value] of rows) process.stdout.write(`    ${(name ?? '').padEnd(9)} ${value}\n`);
}
