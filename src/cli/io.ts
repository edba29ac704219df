import type { EventEmitter } from 'node:events';
import type { Writable } from 'node:stream';
import type { ReadStream } from 'node:tty';
import type { ClientEnvironment } from '../client/environment.ts';

/** `process.stdout` and `process.stderr` are such streams, and so is a `PassThrough` in a test. */
export type CliStream = Writable & {
  readonly isTTY?: boolean;
  readonly columns?: number;
  readonly rows?: number;
};

/**
 * Emits `interrupt` once for every Ctrl-C (or SIGTERM), with what a process that it ends exits with (130, 143). Signals
 * themselves are handled in `bin/` only.
 */
export type Interrupts = EventEmitter<{ interrupt: [exitCode?: number] }>;

/** Everything that the command line touches outside of itself and the API. */
export interface CliIo {
  readonly stdout: CliStream;
  readonly stderr: CliStream;
  /** For keys; left out where there are none. */
  readonly stdin?: ReadStream | undefined;
  readonly env: ClientEnvironment;
  readonly interrupts: Interrupts;
}
