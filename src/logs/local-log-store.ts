import { openLogCapture } from './log-capture.ts';
import { deleteLog, logSize, storedLogs } from './log-files.ts';
import { readFrom, readRecords, readTail } from './log-reader.ts';
import { searchLog } from './log-search.ts';
import { LogTails } from './log-tails.ts';
import type { LogStore } from './log-store.ts';

/** Logs in one directory: `<jobId>.log` and, beside it, its index `<jobId>.index` (see log-index). */
export class LocalLogStore implements LogStore {
  readonly #directory: string;
  readonly #tails: LogTails;

  /** @param directory made when the first log is written */
  constructor(directory: string) {
    this.#directory = directory;
    this.#tails = new LogTails(directory);
  }

  readonly capture: LogStore['capture'] = (options) => openLogCapture(this.#directory, options);
  readonly readTail: LogStore['readTail'] = (...args) => readTail(this.#directory, ...args);
  readonly readFrom: LogStore['readFrom'] = (...args) => readFrom(this.#directory, ...args);
  readonly readRecords: LogStore['readRecords'] = (...args) => readRecords(this.#directory, ...args);
  readonly search: LogStore['search'] = (jobId, query, abandoned) =>
    searchLog((from, maxBytes) => this.readRecords(jobId, from, { maxBytes }), query, abandoned);
  readonly follow: LogStore['follow'] = (...args) => this.#tails.follow(...args);
  readonly list: LogStore['list'] = () => storedLogs(this.#directory);
  readonly delete: LogStore['delete'] = (jobId) => deleteLog(this.#directory, jobId);

  async size(jobId: string): Promise<number | null> {
    return (await logSize(this.#directory, jobId))?.bytes ?? null;
  }
}
