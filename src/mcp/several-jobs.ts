/** Several jobs in one answer: a line each, and of those that failed what looks like the error. */
import { showDuration } from '../cli/quantity.ts';
import type { CallToolResult } from './definition.ts';
import type { JobReport } from './job-report.ts';
import { fenced } from './job-text.ts';
import { callOf } from './next-step.ts';
import { present } from './present.ts';
import { clip, printable } from './printable.ts';

/** Of each job. */
const ERROR_LINES = 4;
const LAST_LINES = 3;
const MAX_TEXT = 1_000;
const MAX_COMMAND = 80;

export interface OneOfSeveral {
  readonly command?: string | undefined;
  readonly report: JobReport;
}

/** @param until whether the first end was waited for, and not all */
export function severalResult(jobs: readonly OneOfSeveral[], until: 'all' | 'first' = 'all'): CallToolResult {
  const open = jobs.filter(({ report }) => !report.ended);
  const failed = jobs.filter(({ report }) => report.ended && report.status !== 'completed');
  const ended = open.length === 0;
  const ids = open.flatMap(({ report }) => report.job_id ?? []);
  const waitOn =
    ids.length === 0
      ? null
      : `${callOf('wait_for_job', { job_ids: ids })} waits for those that have not ended.`;
  const said = jobs.flatMap(({ report, command }) => (report.ended ? [wordsOf(report, command)] : []));
  const status = failed.length > 0 ? 'failed' : ended ? 'completed' : 'running';
  const done = jobs.length - open.length;
  const lines = [
    `${done} of ${jobs.length} ended, ${failed.length} of them badly`,
    ...jobs.map(({ report, command }) => line(report, command)),
    ...jobs.flatMap(({ report }) =>
      (report.notes ?? []).map((note) => `Note: ${report.job_id ?? ''} ${note}`),
    ),
    ...(waitOn === null ? [] : [`Next: ${waitOn}`]),
  ];
  const words = said.filter((text) => text !== '').join('\n');
  return {
    content: [
      { type: 'text', text: lines.join('\n') },
      ...(words === '' ? [] : [fenced('logs of the jobs', words)]),
    ],
    structuredContent: {
      status,
      ended,
      jobs: jobs.map(({ report, command }) => briefOf(report, command)),
      ...(open.length > 0 && !(until === 'first' && done > 0) ? { poll_timeout: true } : {}),
      ...present({ next: waitOn }),
    },
  };
}

const shortCommand = (command: string | undefined): string | null =>
  command === undefined ? null : clip(printable(command), MAX_COMMAND);

function line(
  { job_id: id, status, exit_code: exit, seconds_run: run, error, next, ended }: JobReport,
  command?: string,
): string {
  const parts = [
    id ?? 'not made yet',
    status,
    exit === undefined ? null : `exit ${exit}`,
    exit === undefined && error !== undefined ? error : null,
    run === undefined ? null : showDuration(run),
    shortCommand(command),
  ];
  const advice = ended && status !== 'completed' && next !== undefined ? `\n  ${next}` : '';
  return `${parts.filter((part) => part !== null).join(' · ')}${advice}`;
}

const lastLines = ({ output = '' }: JobReport): string[] =>
  output === '' ? [] : output.split('\n').slice(-LAST_LINES);

function wordsOf(report: JobReport, command: string | undefined): string {
  const lines = report.error_lines?.slice(0, ERROR_LINES) ?? lastLines(report);
  if (lines.length === 0) return '';
  return [
    `${report.job_id ?? ''} ${shortCommand(command) ?? ''}`.trim(),
    ...lines.map((each) => `  ${clip(each, MAX_TEXT / 4)}`),
  ].join('\n');
}

const briefOf = (report: JobReport, command: string | undefined): object => {
  const { job_id, status, ended, exit_code, error, seconds_run, error_lines, next, client_job_id } = report;
  return {
    status,
    ended,
    ...present({
      job_id,
      client_job_id,
      command: shortCommand(command),
      exit_code,
      error,
      seconds_run,
      error_lines: error_lines?.slice(0, ERROR_LINES),
      output: clip(lastLines(report).join('\n'), MAX_TEXT),
      next,
    }),
  };
};
