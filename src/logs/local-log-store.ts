import { openLogCapture } from './log-capture.ts';
import { deleteLog, logSize, storedLogs } from './log-files.ts';
import { readFrom, readRecords, readTail } from './log-reader.ts';
import { LogTails } from './log-tails.ts';
import type {
  CaptureOptions,
  LogCapture,
  LogFollowing,
  LogRecords,
  LogStart,
  LogStore,
  LogTail,
  LogText,
  StoredLog,
} from './log-store.ts';

/** Logs in one directory: `<jobId>.log` and, beside it, its index `<jobId>.idx` (see log-index). */
export class LocalLogStore implements LogStore {
  readonly #directory: string;
  readonly #tails: LogTails;

  /** @param directory made when the first log is written */
  constructor(directory: string) {
    this.#directory = directory;
    this.#tails = new LogTails(directory);
  }

  capture(options: CaptureOptions): Promise<LogCapture> {
    return openLogCapture(this.#directory, options);
  }

  readTail(jobId: string, lines: number): Promise<LogTail | null> {
    return readTail(this.#directory, jobId, lines);
  }

  readFrom(jobId: string, offset: number): Promise<LogText | null> {
    return readFrom(this.#directory, jobId, offset);
  }

  readRecords(jobId: string, from: LogStart): Promise<LogRecords | null> {
    return readRecords(this.#directory, jobId, from);
  }

  async size(jobId: string): Promise<number | null> {
    return (await logSize(this.#directory, jobId))?.bytes ?? null;
  }

  follow(jobId: string, wake: () => void): LogFollowing {
    return this.#tails.follow(jobId, wake);
  }

  list(): Promise<StoredLog[]> {
    return storedLogs(this.#directory);
  }

  delete(jobId: string): Promise<void> {
    return deleteLog(this.#directory, jobId);
  }
}
