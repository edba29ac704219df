/** What `get_job_output` shows of a log, and the call that goes on from there. */
import { count } from '../cli/quantity.ts';
import type { LogPage } from '../client/answers.ts';
import { ClientError } from '../client/client-error.ts';
import { FlashpodsError } from '../errors.ts';
import type { TextLine } from '../jobs/error-lines.ts';
import type { Backend, LocalFiles } from './backend.ts';
import { callOf } from './next-step.ts';
import { excerpt, linesOf } from './log-text.ts';
import type { CallContext } from './definition.ts';
import { quoted } from './printable.ts';
import { absolute } from './submissions.ts';

const DEFAULT_LINES = 100;
const DEFAULT_CONTEXT = 2;
/** An answer has it twice, as text and as structure, where line ends take two bytes: 80 kB at most. */
export const MAX_OUTPUT_BYTES = 25_000;

export interface OutputRequest {
  readonly job_id: string;
  readonly tail?: number | undefined;
  readonly from_line?: number | undefined;
  readonly head?: number | undefined;
  readonly grep?: string | undefined;
  readonly context?: number | undefined;
  readonly ignore_case?: boolean | undefined;
  readonly max_bytes: number;
}

export interface OutputShown {
  readonly text: string;
  /** `12 lines from line 40 on` */
  readonly summary: string;
  readonly lines: number;
  readonly first_line?: number;
  readonly omitted_lines: number;
  readonly matches?: number;
  readonly saved_to?: string;
  readonly log_bytes: number;
  readonly next: string;
}

const NO_LOG = 'Nothing has been captured for this job yet.';
const WHOLE = 'This is the whole log.';
const END = 'This is the end of the log.';

/** @throws ClientError logs_not_available, FlashpodsError invalid_request for arguments that do not go together */
export async function logShown(
  backend: Backend,
  asked: OutputRequest,
  signal: AbortSignal,
): Promise<OutputShown> {
  const request = { ...asked, max_bytes: Math.min(asked.max_bytes, MAX_OUTPUT_BYTES) };
  const { tail, from_line: from, head, grep } = request;
  const refuse = (what: string): never => {
    throw new FlashpodsError('invalid_request', `${what}: leave one of them out.`);
  };
  if (tail !== undefined && (from !== undefined || head !== undefined))
    refuse('`tail` does not go together with `from_line` and `head`');
  if (grep !== undefined) {
    if (tail !== undefined || head !== undefined) refuse('`grep` goes together with `from_line` only');
    return searched(backend, request, grep, signal);
  }
  return from !== undefined || head !== undefined
    ? onward(backend, request, signal)
    : lastLines(backend, request, signal);
}

/** The whole log into a new file. @throws ClientError path_not_allowed, file_exists and what `saveLog` throws */
export async function saved(
  files: LocalFiles,
  {
    job_id: id,
    save_to: saveTo,
    max_bytes: _maxBytes,
    ...others
  }: OutputRequest & { readonly save_to: string },
  context: Pick<CallContext, 'signal' | 'roots'>,
): Promise<OutputShown> {
  const [other] = Object.entries(others).find(([, value]) => value !== undefined) ?? [];
  if (other !== undefined)
    throw new FlashpodsError(
      'invalid_request',
      `\`save_to\` does not go together with \`${other}\`: it writes the whole log.`,
    );
  const target = await files.fence.toWrite(absolute(saveTo), 'save_to', () => context.roots());
  const bytes = await files.saveLog(id, target, { force: false, signal: context.signal });
  const next = `The log is in ${quoted(target)}.`;
  return { text: '', summary: 'all', lines: 0, omitted_lines: 0, saved_to: target, log_bytes: bytes, next };
}

const bytesOf = ({ printedBytes, totalBytes }: LogPage): number => printedBytes ?? totalBytes;

async function lastLines(
  backend: Backend,
  { job_id: id, tail = DEFAULT_LINES, max_bytes: maxBytes }: OutputRequest,
  signal: AbortSignal,
): Promise<OutputShown> {
  const page = await backend.log(id, { tail }, signal);
  if (!page) throw new ClientError('logs_not_available', NO_LOG);
  const lines = linesOf(page.lines).slice(-tail);
  const { text, lines: shown, omitted } = excerpt(lines, maxBytes);
  const first = lines[lines.length - shown]?.seq ?? 1;
  const before = Math.max(1, first - DEFAULT_LINES);
  const next =
    first <= 1
      ? WHOLE
      : `${callOf('get_job_output', { job_id: id, from_line: before, head: first - before })} shows the lines before these; \`grep\` searches all of it.`;
  return {
    text,
    summary: `the last ${count(shown, 'line')} (from line ${first} on)`,
    lines: shown,
    first_line: first,
    omitted_lines: omitted,
    log_bytes: bytesOf(page),
    next,
  };
}

async function onward(
  backend: Backend,
  { job_id: id, from_line: from = 1, head = Infinity, max_bytes: maxBytes }: OutputRequest,
  signal: AbortSignal,
): Promise<OutputShown> {
  // A line that is shown takes a byte at least; one more shows where to go on.
  const most = Math.min(head, maxBytes, 9_999);
  const page = await backend.log(id, { line: from }, signal, most + 1);
  if (!page) throw new ClientError('logs_not_available', NO_LOG);
  const all = linesOf(page.lines);
  const lines = all.slice(0, most);
  const { text, lines: shown, omitted } = excerpt(lines, maxBytes, 'start');
  const following =
    all[shown]?.seq ?? (page.nextOffset < page.totalBytes ? (page.lines.at(-1)?.seq ?? from) + 1 : null);
  const first = lines[0]?.seq ?? from;
  const next =
    following === null
      ? from === 1
        ? WHOLE
        : END
      : `${callOf('get_job_output', { job_id: id, from_line: following, ...(head === Infinity ? {} : { head }), max_bytes: maxBytes })} goes on.`;
  return {
    text,
    summary: `${count(shown, 'line')} from line ${first} on`,
    lines: shown,
    first_line: first,
    omitted_lines: omitted,
    log_bytes: bytesOf(page),
    next,
  };
}

async function searched(
  backend: Backend,
  {
    job_id: id,
    from_line: from = 1,
    context = DEFAULT_CONTEXT,
    ignore_case: ignoreCase = false,
    max_bytes: maxBytes,
  }: OutputRequest,
  pattern: string,
  signal: AbortSignal,
): Promise<OutputShown> {
  const page = await backend.searchLog(id, { pattern, ignoreCase, context, line: from }, signal);
  if (!page) throw new ClientError('logs_not_available', NO_LOG);
  const lines: TextLine[] = [];
  let previous: number | null = null;
  for (const { partial: _partial, match, ...record } of page.lines) {
    const { seq } = record;
    const shown = linesOf([record])[0]?.text ?? '';
    const gap = previous !== null && seq > previous + 1 ? '--\n' : '';
    lines.push({ seq, text: `${gap}${seq}${match === true ? ':' : '-'}${shown}` });
    previous = seq;
  }
  const { text, lines: shown, omitted } = excerpt(lines, maxBytes, 'start');
  const matches = page.lines.slice(0, shown).filter(({ match }) => match === true).length;
  const following = lines[shown]?.seq ?? page.nextLine;
  const again = {
    job_id: id,
    grep: pattern,
    from_line: following,
    context,
    ...(ignoreCase ? { ignore_case: true } : {}),
    max_bytes: maxBytes,
  };
  const next =
    following === null
      ? 'The log was searched to its end.'
      : `${callOf('get_job_output', again)} searches on.`;
  const first = lines[0]?.seq;
  return {
    text,
    summary: `${matches === 1 ? '1 match' : `${matches} matches`} (LINE: before a match, LINE- around it)`,
    lines: shown,
    ...(first === undefined ? {} : { first_line: first }),
    omitted_lines: omitted,
    matches,
    log_bytes: bytesOf(page),
    next,
  };
}
