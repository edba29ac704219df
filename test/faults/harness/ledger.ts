/**
 * What the containers themselves say of when they ran. Every job of the suite mounts one directory with FIFOs in it
 * (a read-only mount refuses to write regular files, not FIFOs) and writes `begin` and `end` into one of them. The
 * kernel puts the writers of a FIFO into one order, so who ran beside whom needs no clock: between its two lines a job
 * ran. Besides, each job holds a FIFO of its own open as long as a process of it lives, so that one that was killed
 * before its `end` is told from one that still runs. No line of the product takes part in this.
 */
import { execFile } from 'node:child_process';
import { chmodSync, chownSync, closeSync, constants, openSync, readSync, statSync, writeSync } from 'node:fs';
import { Socket } from 'node:net';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { systemCode } from '../../../src/errors.ts';
import { eventually } from '../../support/eventually.ts';

export interface LedgerJobOptions {
  readonly cpus?: number;
  readonly memoryGb?: number;
  /** Numbered lines that it prints: half of them before the gate. Default 20. */
  readonly lines?: number;
  readonly exitCode?: number;
  /** Waits in the middle until {@link LedgerJob.open}; else it runs through. */
  readonly gated?: boolean;
  /** Ends by SIGKILL only. */
  readonly deaf?: boolean;
  /** Shell code between the two halves, after the gate. */
  readonly script?: string;
}

/** One job as the suite knows it: what it is to be, and what its container said. */
export interface LedgerJob {
  readonly slot: number;
  /** For `POST /jobs`. */
  readonly request: Readonly<Record<string, unknown>>;
  readonly cpus: number;
  readonly memoryGb: number;
  readonly lines: number;
  readonly exitCode: number;
  /** The containers that began it, in their order; more than one is a violation. */
  readonly begun: readonly { readonly jobId: string; readonly container: string }[];
  /** It came to its end by itself. */
  readonly ended: boolean;
  /** Lets it go on past its gate. */
  open(): void;
  /** Resolves when its container has written `begin`. */
  hasBegun(): Promise<void>;
}

interface Slot extends LedgerJob {
  begun: { jobId: string; container: string }[];
  ended: boolean;
  readonly alive: number;
  readonly gate: number;
}

/** Something that was true at one instant, and may not be. */
export interface Overlap {
  /** Slots that ran at that instant. */
  readonly slots: readonly number[];
}

/** At most this many bytes are written to a FIFO as one piece. */
const PIPE_BUF = 4096;

export class Ledger {
  /** Everything that was written, in the order in which it was. */
  readonly lines: string[] = [];
  readonly #dir: string;
  readonly #filesId: string;
  readonly #slots: Slot[] = [];
  readonly #running = new Set<Slot>();
  readonly #instants: Overlap[] = [];
  readonly #socket: Socket;
  #rest = '';

  private constructor(dir: string, filesId: string, fifo: number) {
    this.#dir = dir;
    this.#filesId = filesId;
    this.#socket = new Socket({ fd: fifo, readable: true, writable: false });
    this.#socket.on('data', (chunk: Buffer) => this.#take(chunk.toString()));
  }

  /**
   * @param dir the snapshot of a finalized, reusable upload
   * @param filesId the upload's id
   */
  static async open(dir: string, filesId: string): Promise<Ledger> {
    return new Ledger(dir, filesId, await makeFifo(join(dir, 'ledger'), constants.O_RDWR));
  }

  /** A job that will tell of itself. Submit its `request` once. */
  async job(options: LedgerJobOptions = {}): Promise<LedgerJob> {
    const {
      cpus = 1,
      memoryGb = 1,
      lines = 20,
      exitCode = 0,
      gated = false,
      deaf = false,
      script = '',
    } = options;
    const slot = this.#slots.length;
    const reserved = { slot } as Slot;
    this.#slots.push(reserved);
    const alive = await makeFifo(join(this.#dir, `alive-${slot}`), constants.O_RDONLY);
    const gate = await makeFifo(join(this.#dir, `gate-${slot}`), constants.O_RDWR);
    const print = (from: number, to: number): string =>
      `i=${from}; while [ $i -le ${to} ]; do echo line $i; i=$((i+1)); done`;
    const half = Math.floor(lines / 2);
    const command = [
      ...(deaf ? ["trap '' TERM"] : []),
      `exec 9>/work/alive-${slot}`,
      'read container </etc/hostname',
      `echo "begin ${slot} $FLASHPODS_JOB_ID $container ${cpus} ${memoryGb}" >/work/ledger`,
      'echo $FLASHPODS_JOB_ID >/artifacts/job',
      print(1, half),
      ...(gated ? [`read go </work/gate-${slot}`] : []),
      ...(script === '' ? [] : [script]),
      print(half + 1, lines),
      `echo "end ${slot} $FLASHPODS_JOB_ID $container" >/work/ledger`,
      `exit ${exitCode}`,
    ].join('\n');
    return Object.assign(reserved, {
      request: {
        type: 'worker',
        command,
        files_id: this.#filesId,
        network: 'none',
        cpus,
        memory_gb: memoryGb,
      },
      cpus,
      memoryGb,
      lines,
      exitCode,
      begun: [],
      ended: false,
      alive,
      gate,
      open: () => void writeSync(gate, '\n'.repeat(16)),
      hasBegun: async () => {
        await eventually(`job ${slot} of the ledger has begun`, () => reserved.begun.length > 0, {
          timeoutMs: 60_000,
        });
      },
    });
  }

  get jobs(): readonly LedgerJob[] {
    return this.#slots;
  }

  /** The job of the suite that became this job of the product; null when its container never began. */
  of(jobId: string): LedgerJob | null {
    return this.#slots.find((slot) => slot.begun.some((each) => each.jobId === jobId)) ?? null;
  }

  /** Every set of jobs that ran at one instant, noted whenever one more began. */
  get instants(): readonly Overlap[] {
    return this.#instants;
  }

  /** Jobs of which a process lives now. */
  alive(): readonly LedgerJob[] {
    return [...this.#running].filter(isAlive);
  }

  close(): void {
    this.#socket.destroy();
    for (const slot of this.#slots) {
      closeSync(slot.alive);
      closeSync(slot.gate);
    }
  }

  #take(text: string): void {
    const lines = (this.#rest + text).split('\n');
    this.#rest = lines.pop() ?? '';
    for (const line of lines) {
      this.lines.push(line);
      const [what, index, jobId = '', container = ''] = line.split(' ');
      const slot = this.#slots[Number(index)];
      if (!slot) throw new Error(`the ledger holds ${JSON.stringify(line)}`);
      if (what === 'begin') this.#begin(slot, { jobId, container });
      else {
        slot.ended = true;
        this.#running.delete(slot);
      }
    }
  }

  #begin(slot: Slot, by: { jobId: string; container: string }): void {
    slot.begun.push(by);
    // What died before this job began is seen as dead by now; what lives still, ran beside it.
    for (const other of this.#running) if (!isAlive(other)) this.#running.delete(other);
    this.#running.add(slot);
    this.#instants.push({ slots: [...this.#running].map((each) => each.slot) });
  }
}

const probe = Buffer.alloc(PIPE_BUF);

/** Whether somebody has its FIFO open for writing: the reader gets an end of file otherwise. */
function isAlive(slot: Slot): boolean {
  try {
    return readSync(slot.alive, probe) > 0;
  } catch (error) {
    if (systemCode(error) === 'EAGAIN') return true;
    throw error;
  }
}

async function makeFifo(path: string, access: number): Promise<number> {
  await promisify(execFile)('mkfifo', [path]);
  // To whom the snapshot belongs: in a job's view of it nobody else has an id.
  const { uid, gid } = statSync(dirname(path));
  chownSync(path, uid, gid);
  chmodSync(path, 0o666); // past the umask: jobs run as ids of their own
  return openSync(path, access | constants.O_NONBLOCK);
}
