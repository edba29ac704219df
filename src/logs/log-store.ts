/**
 * Logs of jobs, wherever they are kept. Nothing here says that who writes a log and who reads it share a disk: a
 * capture runs on the host of the job, readers ask by the job's id and get bytes, offsets and sizes.
 */
import type { LogStream } from './log-index.ts';

/** No answer holds more bytes of log than this, even when its lines are long. */
export const MAX_ANSWER_BYTES = 4 * 1024 * 1024;

export const DEFAULT_MAX_LOG_BYTES = 50 * 1024 * 1024;

/** Where to begin in a log: at a byte, at a line by its number, or a number of lines before its end. */
export type LogStart = { readonly offset: number } | { readonly line: number } | { readonly tail: number };

/** Most of an answer; at least one line, or a part of one, is always answered. */
export interface AnswerLimits {
  readonly maxBytes?: number | undefined;
  readonly maxLines?: number | undefined;
}

export interface LogStore {
  /**
   * Opens the log of a job for writing, or goes on with it after `close` or a crash: after a kill at any instant
   * every line is in the resumed log once. There must be one capture of a job at a time.
   * @throws plain Error for a second one in this process
   */
  capture(options: CaptureOptions): Promise<LogCapture>;
  /**
   * The last `lines` lines. What it costs depends on their number and length, not on the size of the log.
   * @returns null when there is no log
   */
  readTail(jobId: string, lines: number): Promise<LogTail | null>;
  /**
   * The log from byte `offset` on, at most {@link MAX_ANSWER_BYTES}. Offsets count what is left out of the log as well:
   * one that lies in there gives the line that stands for it, and goes on after it. It ends with a whole line where that is
   * possible; a line that does not fit is cut between characters, and one that has not ended yet is left for later.
   * To go on at `nextOffset` misses nothing and reads nothing twice. An offset beyond the end is taken as the end.
   * @returns null when there is no log
   */
  readFrom(
    jobId: string,
    from: number | { readonly line: number },
    limits?: AnswerLimits,
  ): Promise<LogText | null>;
  /** The same log as records, from a byte on or the last lines of it. @returns null when there is no log */
  readRecords(jobId: string, from: LogStart, limits?: AnswerLimits): Promise<LogRecords | null>;
  /**
   * The lines that a regular expression finds, and those around them, from a line on; as many as an answer holds.
   * @param abandoned then the answer is what was found by then
   * @returns null when there is no log
   * @throws FlashpodsError invalid_request for a pattern that takes too long for the first line
   */
  search(jobId: string, query: SearchQuery, abandoned?: AbortSignal): Promise<LogSearch | null>;
  /** Bytes of the log that can be read. @returns null when there is no log */
  size(jobId: string): Promise<number | null>;
  /** Calls `wake` when the job's log may have grown; it need not exist yet. */
  follow(jobId: string, wake: () => void): LogFollowing;
  /** Every log that is stored, in no order. */
  list(): Promise<readonly StoredLog[]>;
  /** Deletes a job's log. To delete what is not there is no error. */
  delete(jobId: string): Promise<void>;
}

export interface CaptureOptions {
  readonly jobId: string;
  /**
   * The runtime's k8s-file log of the job's container. It need not exist yet; its runtime must not rotate it.
   * Null: the job has no container, and its log has lines of Flashpods's own only.
   */
  readonly spoolPath: string | null;
  /**
   * Bytes that the job printed of which the log is kept: of more, the first and the last part. Default
   * {@link DEFAULT_MAX_LOG_BYTES}.
   */
  readonly maxBytes?: number | undefined;
  /** The job's stdout and stderr are one pipe, whose stream is `merged`. */
  readonly merged?: boolean | undefined;
  /** Called once, as soon as something of the log is left out. */
  readonly onTruncated?: (() => void) | undefined;
  /** Called once for each row of failures of the disk, such as ENOSPC. Capture goes on trying. */
  readonly onTrouble?: ((error: Error) => void) | undefined;
}

export interface LogCapture {
  /** Adds a line of Flashpods's own, in the order of arrival. Never throws. */
  system(text: string): void;
  /** Begins to follow the spool. Calling it again changes nothing. */
  follow(): void;
  /**
   * Call it when the container has ended and the spool is complete: takes what is left, ends the last line and
   * closes. Doing it again in another capture of the same job changes nothing. Errors of the disk do not throw:
   * see `incomplete`.
   */
  finish(): Promise<LogResult>;
  /** Stops without finishing; a successor goes on where this one stopped, losing and repeating nothing. */
  close(): Promise<void>;
}

export interface LogResult {
  /** Size of the log, with what was left out of it. */
  readonly bytes: number;
  readonly lines: number;
  /** The log's limit was exceeded: its middle is left out. */
  readonly truncated: boolean;
  /** The disk took no more, so that the end of the output is missing. */
  readonly incomplete: boolean;
}

interface Answer {
  /** Read on from here. */
  readonly nextOffset: number;
  /** Size of the log, with what was left out of it. */
  readonly totalBytes: number;
  /** What the job itself printed, bytes; lines of Flashpods's own and times are not counted. */
  readonly printedBytes: number;
  /** The log's limit was exceeded: a line says where its middle is left out, and how much. */
  readonly truncated: boolean;
}

export interface LogText extends Answer {
  /** The log's raw bytes; what the job printed need not be UTF-8. */
  readonly output: Buffer;
  /** Lines in `output`, an unended one included. */
  readonly lines: number;
}

export interface LogTail extends LogText {
  /** Fewer lines than asked for although there are more: they exceed {@link MAX_ANSWER_BYTES}. */
  readonly cut: boolean;
}

/** A piece of the log: a line, or at most 64 KiB of an overlong one. */
export interface LogRecord {
  /** 1 for the first of the log, without gaps. */
  readonly seq: number;
  /** ISO 8601, UTC, milliseconds: when the line began. */
  readonly time: string;
  readonly stream: LogStream;
  /** Bytes that are not UTF-8 are replaced. */
  readonly text: string;
  /** The bytes, in base64, where they are not UTF-8. */
  readonly bytes?: string;
  /** The line goes on in the stream's next record. */
  readonly partial?: true;
  /** The job did not end the line with a newline: it ended itself, or the other stream came in between. */
  readonly unended?: true;
}

/** What the job printed of a record, byte for byte. */
export const printedBytes = ({ text, bytes, partial, unended }: LogRecord): Buffer => {
  const printed = bytes === undefined ? Buffer.from(text) : Buffer.from(bytes, 'base64');
  return partial || unended ? printed : Buffer.concat([printed, NEWLINE]);
};
const NEWLINE = Buffer.from('\n');

export interface LogRecords extends Answer {
  readonly records: readonly LogRecord[];
}

export interface SearchQuery {
  /** A regular expression of JavaScript. */
  readonly pattern: string;
  readonly ignoreCase: boolean;
  /** Lines before and after each that matches. */
  readonly context: number;
  /** Number of the first line that is looked at. */
  readonly line: number;
  readonly maxBytes: number;
}

export type FoundRecord = LogRecord & { readonly match?: true };

export interface LogSearch extends Answer {
  readonly records: readonly FoundRecord[];
  readonly matches: number;
  /** Go on at this line; null when the log was searched to its end. */
  readonly nextLine: number | null;
}

export interface LogFollowing {
  /**
   * The log from a byte on, as it was at `notBefore` (`performance.now()`) or later; null when there is no log.
   */
  page(offset: number, notBefore: number): Promise<LogRecords | null>;
  /** Whether growth is told; without it the caller looks by itself. */
  readonly watched: boolean;
  stop(): void;
}

export interface StoredLog {
  readonly jobId: string;
  /** What it takes of the store, the log and all that belongs to it. */
  readonly diskBytes: number;
  /** Milliseconds since the Unix epoch. */
  readonly changedAt: number;
}

/** Why this is no regular expression, for people, or null. */
export function patternProblem(pattern: string): string | null {
  try {
    new RegExp(pattern);
    return null;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return `must be a regular expression of JavaScript (${error.message})`;
  }
}

/** As `grep -n` shows them: `LINE:text` for what matches, `LINE-text` for what is around it, `--` between groups. */
export function grepText(records: readonly FoundRecord[]): string {
  let previous: number | null = null;
  let text = '';
  for (const { seq, text: line, match } of records) {
    if (previous !== null && seq > previous + 1) text += '--\n';
    text += `${seq}${match ? ':' : '-'}${line}\n`;
    previous = seq;
  }
  return text;
}
