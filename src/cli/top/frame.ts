/** What `flashpods top` shows, as lines: nothing here knows of a terminal but its size. */
import type { CapacityAnswer, JobAnswer } from '../../client/answers.ts';
import { isWaiting } from '../../jobs/states.ts';
import { runSeconds, startsWithin } from '../present-job.ts';
import { count, showAge, showDuration } from '../quantity.ts';
import { table } from '../table.ts';
import { type Colour, sanitize, shorten } from '../terminal.ts';

export interface TopView {
  readonly server: string;
  /** Null before the first answer. */
  readonly capacity: CapacityAnswer | null;
  readonly jobs: readonly JobAnswer[];
  /** How many jobs hosts have, shown or not. */
  readonly running: number;
  /** Why the server can't be asked at the moment. */
  readonly problem: string | null;
  /** Of the last answer, ms since the Unix epoch. */
  readonly seenAt: number | null;
  readonly nowMs: number;
  readonly selected: string | null;
  /** Instead of the keys, at the bottom. */
  readonly prompt: string | null;
}

export type Paint = (colour: Colour, text: string) => string;

const BAR_CELLS = 10;
const COMMAND_WIDTH = 36;
const KEYS = 'q quit   ↑ ↓ select   k cancel the selected job';

/** Jobs in the order of their lines: those that run, oldest first, then those that wait, by their place. */
export function ordered(jobs: readonly JobAnswer[]): { running: JobAnswer[]; waiting: JobAnswer[] } {
  const waiting = jobs.filter(({ status }) => isWaiting(status));
  const running = jobs.filter(({ status }) => !isWaiting(status));
  const place = ({ queue_position: at }: JobAnswer): number => at ?? Number.MAX_SAFE_INTEGER;
  const begun = ({ started_at: at, created_at }: JobAnswer): number => Date.parse(at ?? created_at);
  return {
    running: running.sort((a, b) => begun(a) - begun(b)),
    waiting: waiting.sort((a, b) => place(a) - place(b) || begun(a) - begun(b)),
  };
}

/** All of it, however long: for a pipe. */
export function snapshot(view: TopView, paint: Paint): string[] {
  return [header(view, paint), '', ...body(view, paint).lines];
}

/** Exactly `rows` lines of at most `columns` characters, with the selected job among them. */
export function screen(view: TopView, paint: Paint, size: { rows: number; columns: number }): string[] {
  const { lines, selectedAt } = body(view, paint, size.columns);
  const height = Math.max(0, size.rows - 2);
  const from =
    selectedAt === null
      ? 0
      : Math.min(Math.max(0, selectedAt - height + 2), Math.max(0, lines.length - height));
  const shown = lines.slice(from, from + height);
  const filled = [...shown, ...Array.from({ length: height - shown.length }, () => '')];
  const footer = view.prompt ?? KEYS;
  const all = [header(view, paint, size.columns), ...filled, paint('dim', shorten(footer, size.columns))];
  return all.slice(0, Math.max(1, size.rows));
}

function header(view: TopView, paint: Paint, columns = Infinity): string {
  const { server, problem, seenAt, nowMs } = view;
  const clock = new Date(nowMs).toTimeString().slice(0, 8);
  if (problem === null) return cut(`flashpods · ${server} · ${clock}`, columns);
  const age = seenAt === null ? '' : ` · as of ${showAge((nowMs - seenAt) / 1_000)} ago`;
  return paint('red', cut(`${server} is away: ${problem}${age}`, columns));
}

interface Body {
  readonly lines: string[];
  readonly selectedAt: number | null;
}

function body(view: TopView, paint: Paint, columns = Infinity): Body {
  const { capacity, jobs, nowMs, selected } = view;
  if (!capacity) return { lines: ['waiting for the first answer'], selectedAt: null };
  const { running, waiting } = ordered(jobs);
  const withOwner = new Set(jobs.map(({ owner }) => owner)).size > 1;
  const lines: string[] = [...hosts(capacity, paint, columns), ''];
  let selectedAt: number | null = null;
  const add = (title: string, of: readonly JobAnswer[], rows: string[]): void => {
    lines.push(paint('bold', cut(title, columns)));
    const [heading, ...rest] = rows;
    if (of.length > 0 && heading !== undefined) lines.push(paint('dim', cut(heading, columns)));
    for (const [index, job] of of.entries()) {
      const isSelected = job.id === selected;
      if (isSelected) selectedAt = lines.length;
      const text = cut(`${isSelected ? '▸' : ' '} ${(rest[index] ?? '').slice(2)}`, columns);
      lines.push(isSelected ? paint('bold', text) : text);
    }
  };
  const hidden = view.running > running.length ? `, ${running.length} shown` : '';
  const all = Math.max(view.running, running.length);
  add(`${count(all, 'job')} running${hidden}`, running, runningRows(running, nowMs, withOwner));
  lines.push('');
  const { length, oldest_wait_seconds: oldest } = capacity.queue;
  const unseen = length > waiting.length ? `, ${waiting.length} shown` : '';
  const since = length === 0 ? '' : `, the oldest for ${showDuration(oldest)}`;
  add(`${count(length, 'job')} waiting${since}${unseen}`, waiting, waitingRows(waiting, nowMs, withOwner));
  return { lines, selectedAt };
}

function hosts(capacity: CapacityAnswer, paint: Paint, columns: number): string[] {
  if (capacity.hosts.length === 0) return [paint('yellow', 'no hosts: nothing can run until a worker comes')];
  const titles = ['HOST', 'STATE', 'CPUS RESERVED', 'MEMORY RESERVED', 'JOBS'].map((title) => ({ title }));
  const rows = capacity.hosts.map(({ name, state, capacity: all, free, running_jobs }) => [
    shorten(name, 30),
    sanitize(state),
    `${bar(all.cpus - free.cpus, all.cpus)} ${all.cpus - free.cpus} of ${all.cpus}`,
    `${bar(all.memory_gb - free.memory_gb, all.memory_gb)} ${all.memory_gb - free.memory_gb} of ${all.memory_gb} GB`,
    String(running_jobs),
  ]);
  const [heading = '', ...lines] = table(titles, rows).map((line) => cut(line, columns));
  return [paint('dim', heading), ...lines];
}

/** `[████░░░░░░]`; more than all is shown as all. */
function bar(part: number, all: number): string {
  const full = all <= 0 ? 0 : Math.min(BAR_CELLS, Math.max(0, Math.round((part / all) * BAR_CELLS)));
  return `[${'█'.repeat(full)}${'░'.repeat(BAR_CELLS - full)}]`;
}

/** With its owner where there are several. */
const nameOf = ({ labels, command, task, owner }: JobAnswer, withOwner: boolean): string => {
  const name = labels?.['name'];
  const what = command ?? task ?? '';
  const named = name === undefined ? what : `${name}: ${what}`;
  return shorten(withOwner ? `${owner ?? '-'}/${named}` : named, COMMAND_WIDTH);
};

const runningRows = (jobs: readonly JobAnswer[], nowMs: number, withOwner: boolean): string[] =>
  table(
    ['  ID', 'STATUS', 'FOR', 'CPUS', 'MEMORY', 'HOST', 'COMMAND'].map((title) => ({ title })),
    jobs.map((job) => {
      const ran = runSeconds(job, nowMs);
      return [
        `  ${sanitize(job.id)}`,
        sanitize(job.status),
        ran === null ? '-' : showAge(ran),
        String(job.cpus),
        `${job.memory_gb} GB`,
        shorten(job.host ?? '-', 30),
        nameOf(job, withOwner),
      ];
    }),
  );

const waitingRows = (jobs: readonly JobAnswer[], nowMs: number, withOwner: boolean): string[] =>
  table(
    ['  ID', 'FOR', 'CPUS', 'MEMORY', 'COMMAND', 'WHY'].map((title) => ({ title })),
    jobs.map((job) => [
      `  ${sanitize(job.id)}`,
      showAge((nowMs - Date.parse(job.queued_at ?? job.created_at)) / 1_000),
      String(job.cpus),
      `${job.memory_gb} GB`,
      nameOf(job, withOwner),
      [job.waiting_reason, startsWithin(job, nowMs)]
        .filter(Boolean)
        .map((text) => sanitize(String(text)))
        .join(' · '),
    ]),
  );

const cut = (text: string, columns: number): string => (columns === Infinity ? text : shorten(text, columns));
