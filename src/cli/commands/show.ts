import type { JobAnswer } from '../../client/answers.ts';
import { findJob } from '../../client/find-job.ts';
import { isTerminal, isWaiting } from '../../jobs/states.ts';
import type { CliContext } from '../context.ts';
import { describeEnd, describeWaiting, runSeconds, stateColour } from '../present-job.ts';
import { showBytes, showDuration } from '../quantity.ts';
import { table } from '../table.ts';
import { sanitize } from '../terminal.ts';

/** Everything that is known of one job. */
export async function show(job: string, context: CliContext): Promise<number> {
  const client = await context.client();
  const signal = context.untilInterrupted();
  const answer = await client.getJob(await findJob(client, job, signal), { signal });
  return context.show(answer, () => describeJob(answer, context).join('\n'));
}

function describeJob(job: JobAnswer, { out }: CliContext): string[] {
  const rows = factsOf(job).flatMap(([title, text]): [string, string][] =>
    text === null || text === undefined || text === '' ? [] : [[title, sanitize(String(text))]],
  );
  const [, ...lines] = table([{ title: '' }, { title: '' }], rows);
  return [`${sanitize(job.id)}  ${out.colour(stateColour(job.status), job.status)}`, ...lines];
}

type Fact = readonly [title: string, text: string | number | null | undefined];

function factsOf(job: JobAnswer): Fact[] {
  const { usage, labels = {} } = job;
  const ran = runSeconds(job, Date.now());
  return [
    ['name', labels['name']],
    ['owner', job.owner],
    ['waits', isWaiting(job.status) ? describeWaiting(job) : null],
    ['ended', isTerminal(job.status) ? describeEnd(job) : null],
    ['error', job.error_code],
    ...(job.error_lines ?? []).map((line): Fact => ['log says', line]),
    ['command', job.command ?? job.task],
    ['run by', job.ran_by],
    ['image', job.image],
    ['packages', job.packages?.join(' ')],
    ['files', job.files_id],
    ['host', job.host],
    [
      'reserves',
      [`${job.cpus} cpus`, `${job.memory_gb} GB`, job.disk_gb ? `${job.disk_gb} GB of disk` : '']
        .filter(Boolean)
        .join(', '),
    ],
    ['time limit', `${job.timeout_minutes} min`],
    ['used', usage ? used(usage) : null],
    ['network', job.network],
    ['priority', job.priority],
    [
      'labels',
      Object.entries(labels)
        .map(([key, value]) => `${key}=${value}`)
        .join(' '),
    ],
    ['created', job.created_at],
    ['started', job.started_at],
    ['ran', ran === null ? null : showDuration(ran)],
    ['completed', job.completed_at],
    ...(job.notes ?? []).map((note): Fact => ['note', note]),
    ...[...(job.warnings ?? []), ...(job.artifact_warnings ?? [])].map((text): Fact => ['warning', text]),
  ];
}

function used({
  peak_memory_bytes: peak,
  cpu_seconds: cpu,
  bytes_written: written,
}: NonNullable<JobAnswer['usage']>): string {
  return [
    typeof peak === 'number' ? `peak memory ${showBytes(peak)}` : '',
    typeof cpu === 'number' ? `${cpu.toFixed(1)} s of cpu` : '',
    typeof written === 'number' ? `${showBytes(written)} written` : '',
  ]
    .filter((part) => part !== '')
    .join(', ');
}
