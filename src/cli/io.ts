import type { EventEmitter } from 'node:events';
import type { Writable } from 'node:stream';
import type { ClientEnvironment } from '../config.ts';

/** `process.stdout` and `process.stderr` are such streams, and so is a `PassThrough` in a test. */
export type CliStream = Writable & { readonly isTTY?: boolean; readonly columns?: number };

/** Emits `interrupt` once for every Ctrl-C (or SIGTERM). Signals themselves are handled in `bin/` only. */
export type Interrupts = EventEmitter<{ interrupt: [] }>;

/** Everything that the command line touches outside of itself and the API. */
export interface CliIo {
  readonly stdout: CliStream;
  readonly stderr: CliStream;
  readonly env: ClientEnvironment;
  readonly interrupts: Interrupts;
}
