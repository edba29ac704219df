/**
 * Work on trees and archives that somebody else made, each piece of it in a process of its own that may die: of
 * memory, or because it is stopped. Processes are used again; those that nobody needs end by themselves.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { getCompileCacheDir } from 'node:module';
import { extname } from 'node:path';
import { PassThrough, type Writable } from 'node:stream';
import { FlashpodsError } from '../errors.ts';
import { OverBudget } from '../trees/budget.ts';
import { fromPlain, LENGTH_BYTES, type Order, type Report, toPlain } from './messages.ts';
import type { Operations } from './operation.ts';
import { Turns } from './turns.ts';

/** What the largest tree that is allowed takes is about half of it. */
const HEAP_MB = 320;
/** Starting one costs far more than using one that is there. */
const IDLE_MS = 3_000;
/** For what can be left in order; a process that is busy with itself does not hear of it. */
const ABORT_MS = 2_000;
const PIECE_BYTES = 256 * 1024;
const SAID_CHARACTERS = 2_000;
/** No variables of ours: nobody who reads what strangers sent has a token in its memory. */
const environment = (): NodeJS.ProcessEnv => ({
  PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  // What its parent has compiled it need not compile again.
  NODE_COMPILE_CACHE: getCompileCacheDir(),
});

/** At once, of each kind and half of them of one owner; streams are limited by those who take them. */
const AT_ONCE: Readonly<Record<keyof Operations, number>> = {
  measure: 4,
  munge: 4,
  unpack: Infinity,
  seal: 4,
  remove: 4,
  collect: 8,
};

type Args<K extends keyof Operations> = Parameters<Operations[K]>[0];
type Result<K extends keyof Operations> = Awaited<ReturnType<Operations[K]>>;

export interface RunOptions {
  readonly signal?: AbortSignal | undefined;
  /** Sent along; it is not destroyed. */
  readonly input?: AsyncIterable<Buffer>;
  /** What has been done so far. @throws to stop it there */
  readonly onBytes?: (bytes: number) => void;
}

/** A tree process could not be made, or was ended by somebody else: nobody's files are to blame. */
export class TreeProcessLost extends FlashpodsError {
  /** @param how `SIGKILL`, `exit status 1`, or why none could be made */
  constructor(how: string, options: { cause?: unknown } = {}) {
    super('service_unavailable', `The process that reads files has ended (${how}). Try again.`, options);
  }
}

export class TreeProcesses {
  readonly #heapMb: number;
  readonly #idle: TreeProcess[] = [];
  readonly #turns = new Map<keyof Operations, Turns>();

  constructor({ heapMb = HEAP_MB }: { heapMb?: number } = {}) {
    this.#heapMb = heapMb;
    for (const [name, atOnce] of Object.entries(AT_ONCE))
      this.#turns.set(name as keyof Operations, new Turns(atOnce));
  }

  /** Something will be wanted soon: a process is started now, if none is there. */
  warm(): void {
    if (this.#idle.length === 0) this.#keep(new TreeProcess(this.#heapMb));
  }

  /**
   * Runs one operation to its end. When this returns or throws, nothing of it goes on.
   * @throws what the operation does; OverBudget when its process has no memory left; TreeProcessLost when it ends by
   *   anything else; the reason of the signal
   */
  run<K extends keyof Operations>(name: K, args: Args<K>, options: RunOptions = {}): Promise<Result<K>> {
    const turn = this.#turns.get(name);
    if (!turn) throw new TypeError(`no operation ${name}`);
    return turn.take(async (): Promise<Result<K>> => {
      options.signal?.throwIfAborted();
      const process = this.#take();
      try {
        return (await process.run(name, args, options)) as Result<K>;
      } finally {
        void process.free.then(() => this.#keep(process));
      }
    });
  }

  #take(): TreeProcess {
    for (let process = this.#idle.pop(); process; process = this.#idle.pop())
      if (process.isUsable) return process.wake();
    return new TreeProcess(this.#heapMb);
  }

  #keep(process: TreeProcess): void {
    if (!process.isUsable) return;
    this.#idle.push(process);
    process.sleep(IDLE_MS, () => {
      const place = this.#idle.indexOf(process);
      if (place !== -1) this.#idle.splice(place, 1);
    });
  }
}

let own: TreeProcesses | undefined;

/** Those of this process. */
export const treeProcesses = (): TreeProcesses => (own ??= new TreeProcesses());

class TreeProcess {
  readonly #child: ChildProcess;
  readonly #stdin: Writable & { ref?(): void; unref?(): void };
  readonly #ended: Promise<string>;
  #said = '';
  #sent: Promise<void> = Promise.resolve();
  #isOver = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(heapMb: number) {
    // A build names it `.js`.
    const child = fork(new URL(`./main${extname(import.meta.url)}`, import.meta.url), {
      // It dies with its parent also in the midst of work that never looks at the channel.
      execPath: 'setpriv',
      execArgv: ['--pdeathsig', 'KILL', process.execPath, `--max-old-space-size=${heapMb}`],
      env: environment(),
      serialization: 'advanced',
      // A process group of its own: Ctrl-C reaches its parent alone.
      detached: true,
      stdio: ['pipe', 'ignore', 'pipe', 'ipc'],
    });
    // Heard before anything else: where no process can be made (EMFILE, say) the child has no pipes, and says so later.
    this.#ended = new Promise((resolve) => {
      child.once('error', (error) => resolve(error.message));
      child.once('exit', (code, signal) => resolve(signal ?? `exit status ${code}`));
    });
    void this.#ended.then(() => (this.#isOver = true));
    this.#child = child;
    this.#stdin = child.stdin ?? new PassThrough().end();
    this.#stdin.on('error', () => undefined); // its end says why
    child.stderr?.on('data', (chunk: Buffer) => {
      this.#said = (this.#said + chunk.toString('latin1')).slice(-SAID_CHARACTERS);
    });
  }

  get isUsable(): boolean {
    return !this.#isOver && this.#child.connected;
  }

  /** It does not keep its parent alive, and is ended after a time. */
  sleep(ms: number, onEnd: () => void): void {
    for (const part of this.#handles) part?.unref?.();
    this.#timer = setTimeout(() => {
      onEnd();
      this.#end();
    }, ms).unref();
  }

  wake(): this {
    clearTimeout(this.#timer);
    for (const part of this.#handles) part?.ref?.();
    return this;
  }

  /** @throws what the operation does; OverBudget and TreeProcessLost when the process dies; what stopped it */
  async run(name: string, args: unknown, { signal, input, onBytes }: RunOptions): Promise<unknown> {
    const result = Promise.withResolvers<unknown>();
    let stopped: { readonly reason: unknown } | null = null;
    const stop = (reason: unknown): void => {
      if (stopped !== null) return;
      stopped = { reason };
      this.#order({ kind: 'abort', error: toPlain(reason) });
      setTimeout(() => this.#end(), ABORT_MS).unref();
    };
    const onReport = (report: Report): void => {
      if (report.kind === 'done') result.resolve(report.result);
      else if (report.kind === 'failed') result.reject(fromPlain(report.error));
      else {
        try {
          onBytes?.(report.bytes);
          this.#order({ kind: 'go' });
        } catch (error) {
          stop(error);
        }
      }
    };
    const onAbort = (): void => stop(signal?.reason);
    this.#child.on('message', onReport);
    signal?.addEventListener('abort', onAbort, { once: true });
    void this.#ended.then((how) => {
      const cause = new Error(`a tree process ended: ${how} ${this.#said}`);
      result.reject(
        this.#said.includes('heap out of memory')
          ? new OverBudget('so much in them that there is not the memory to deal with it', { cause })
          : new TreeProcessLost(how, { cause }),
      );
    });
    this.#order({ kind: 'run', name, args, hasInput: input !== undefined });
    let isOver = false;
    if (input) this.#sent = this.#send(input, () => isOver, stop);
    try {
      return await result.promise;
    } catch (error) {
      throw stopped === null ? error : (stopped as { reason: unknown }).reason;
    } finally {
      isOver = true;
      signal?.removeEventListener('abort', onAbort);
      this.#child.off('message', onReport);
      if (stopped !== null) {
        this.#end();
        await this.#ended;
      }
    }
  }

  /** Resolves when it can do something else, or never can. */
  get free(): Promise<unknown> {
    return Promise.race([this.#sent, this.#ended]);
  }

  get #handles(): readonly ({ ref?(): void; unref?(): void } | null | undefined)[] {
    const stderr = this.#child.stderr as { ref?(): void; unref?(): void } | null;
    return [this.#child, this.#child.channel, this.#stdin, stderr];
  }

  #order(order: Order): void {
    if (this.#child.connected) this.#child.send(order, () => undefined);
  }

  /** At once: nothing waits for it, and what it has begun is begun anew by the next. */
  #end(): void {
    this.#isOver = true;
    this.#child.kill('SIGKILL');
  }

  /** Sends the input, and its end in any case; what comes after the operation is over is thrown away. */
  async #send(
    input: AsyncIterable<Buffer>,
    isOver: () => boolean,
    failed: (error: unknown) => void,
  ): Promise<void> {
    const length = (count: number): Buffer => {
      const bytes = Buffer.alloc(LENGTH_BYTES);
      bytes.writeUInt32BE(count);
      return bytes;
    };
    try {
      for await (const chunk of input) {
        for (let at = 0; at < chunk.length && !isOver(); at += PIECE_BYTES) {
          const piece = chunk.subarray(at, at + PIECE_BYTES);
          this.#stdin.write(length(piece.length));
          if (!this.#stdin.write(piece)) await this.#drained();
        }
        if (isOver()) break;
      }
    } catch (error) {
      if (!isOver()) failed(error);
    }
    this.#stdin.write(length(0));
  }

  async #drained(): Promise<void> {
    const drain = Promise.withResolvers<void>();
    const done = (): void => drain.resolve();
    this.#stdin.once('drain', done).once('close', done);
    await drain.promise;
    this.#stdin.off('drain', done).off('close', done);
  }
}
