/** Times of a tree's entries, to the nanosecond. Node's own calls take microseconds, and none before the epoch. */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { bytesOfName, type Directory, type RawName } from './directory.ts';

const HELPER = fileURLToPath(new URL('./times.pl', import.meta.url));
const BILLION = 1_000_000_000n;
/** No file system has more seconds, and the kernel refuses times that do not fit its 64 bits. */
const MAX_SECONDS = 1n << 40n;

type Helper = ChildProcessByStdio<Writable, null, Readable>;

/**
 * Sets times of what lies below an open directory, which stays open until {@link close}. What is gone when its turn
 * comes is passed over, and a symlink gets the time itself. One process of perl does it; it is started for the first.
 */
export class TreeTimes {
  readonly #root: Directory;
  #helper: Helper | null = null;
  #ended: Promise<void> | null = null;

  constructor(root: Directory) {
    this.#root = root;
  }

  /**
   * Sets modification and access time of the entry, at the latest when {@link close} returns.
   * @param path segments below the directory; none for itself
   * @param ns since the epoch
   */
  async set(path: readonly RawName[], ns: bigint): Promise<void> {
    const { seconds, nanoseconds } = split(ns);
    if (seconds > MAX_SECONDS || seconds < -MAX_SECONDS) return;
    const { stdin } = (this.#helper ??= this.#start());
    const name = path.length === 0 ? Buffer.from('.') : bytesOfName(path.join('/'));
    const record = Buffer.concat([Buffer.from(`${seconds} ${nanoseconds} `), name, Buffer.from('\0')]);
    if (stdin.write(record)) return;
    // A helper that has failed drains nothing.
    await Promise.race([once(stdin, 'drain').catch(() => undefined), this.#ended]);
  }

  /** Resolves when all times are set. @throws Error when one could not be */
  async close(): Promise<void> {
    this.#helper?.stdin.end();
    await this.#ended;
  }

  /** Ends without setting what is still to be set. */
  async abandon(): Promise<void> {
    this.#helper?.kill('SIGKILL');
    await this.#ended?.catch(() => undefined);
  }

  #start(): Helper {
    const helper = spawn('perl', [HELPER], {
      stdio: ['pipe', 'ignore', 'pipe', this.#root.handle.fd],
    }) as Helper;
    let said = '';
    helper.stderr.on('data', (chunk: Buffer) => (said = (said + chunk.toString()).slice(-1_000)));
    helper.stdin.on('error', () => undefined); // its end says why
    this.#ended = new Promise((resolve, reject) => {
      helper.once('error', (cause) =>
        reject(new Error('perl can’t be started, which sets the times of files', { cause })),
      );
      helper.once('close', (code, signal) =>
        code === 0
          ? resolve()
          : reject(new Error(`times of files could not be set: ${said.trim() || (signal ?? code)}`)),
      );
    });
    this.#ended.catch(() => undefined); // `close` tells of it
    return helper;
  }
}

/** Nanoseconds are never below zero, also before the epoch. */
function split(ns: bigint): { readonly seconds: bigint; readonly nanoseconds: bigint } {
  const nanoseconds = ((ns % BILLION) + BILLION) % BILLION;
  return { seconds: (ns - nanoseconds) / BILLION, nanoseconds };
}

/** `-0.5` and `1700000000.123456789` as nanoseconds; null for what is no number of seconds. */
export function parseSeconds(text: string): bigint | null {
  const match = /^(-?)(\d{1,15})(?:\.(\d*))?$/.exec(text.trim());
  if (!match) return null;
  const [, sign, whole = '0', fraction = ''] = match;
  const ns = BigInt(whole) * BILLION + BigInt(fraction.slice(0, 9).padEnd(9, '0'));
  return sign === '-' ? -ns : ns;
}

/** Seconds as {@link parseSeconds} reads them, with nine decimals where there are any. */
export function formatSeconds(ns: bigint): string {
  const size = ns < 0n ? -ns : ns;
  const fraction = size % BILLION;
  const decimals = fraction === 0n ? '' : `.${String(fraction).padStart(9, '0')}`;
  return `${ns < 0n ? '-' : ''}${size / BILLION}${decimals}`;
}
