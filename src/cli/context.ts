import type { FlashpodsClient } from '../client/client.ts';
import { ClientError } from '../client/client-error.ts';
import type { ConnectionFlags } from '../client/connection.ts';
import { ExitCode } from './exit-code.ts';
import type { CliIo } from './io.ts';
import type { Output } from './terminal.ts';

/** Options that every command of the client has. */
export interface GlobalOptions extends ConnectionFlags {
  readonly json?: boolean;
}

/** What a command works with. It answers with an exit code, or throws. */
export class CliContext {
  readonly out: Output;
  readonly err: Output;
  readonly json: boolean;
  readonly #io: CliIo;
  readonly #flags: ConnectionFlags;
  #client: FlashpodsClient | undefined;

  constructor(io: CliIo, outputs: { out: Output; err: Output }, options: GlobalOptions) {
    this.#io = io;
    this.out = outputs.out;
    this.err = outputs.err;
    this.json = options.json === true;
    this.#flags = options;
  }

  /** The client of the configured server, made at the first call. @throws ClientError when there is none */
  async client(): Promise<FlashpodsClient> {
    if (this.#client) return this.#client;
    // Loaded here: `--version` and `--help` do without.
    const { FlashpodsClient } = await import('../client/client.ts');
    const { discoverConnection } = await import('../client/connection.ts');
    const connection = await discoverConnection(this.#flags, this.#io.env);
    this.#client = new FlashpodsClient(connection, ({ error, delayMs }) => {
      this.notice(`${error.code}: ${error.message} Next try in ${(delayMs / 1_000).toFixed(1)} s.`);
    });
    return this.#client;
  }

  /** The streams themselves, for a command that takes the whole terminal. */
  get terminal(): Pick<CliIo, 'stdout' | 'stdin'> {
    return this.#io;
  }

  /** One line for the person, beside the output proper; with `--json` `{"notice": text}`. */
  notice(text: string): void {
    void (this.json
      ? this.err.json({ notice: text })
      : this.err.line(this.err.colour('dim', `flashpods: ${text}`)));
  }

  /** Prints what a command found, as JSON or as text. @returns the exit code of one that went well */
  async show(json: object, text: () => string): Promise<number> {
    await (this.json ? this.out.json(json) : this.out.line(text()));
    return ExitCode.fine;
  }

  /** A signal that the first Ctrl-C aborts: for commands that just end then. */
  untilInterrupted(): AbortSignal {
    const controller = new AbortController();
    this.#io.interrupts.once('interrupt', () => {
      this.#stopWaiting();
      controller.abort(new ClientError('interrupted', 'Interrupted.'));
    });
    return controller.signal;
  }

  /**
   * Calls back at every Ctrl-C with its number, from 1, and what a process that it ends exits with.
   * @returns how to stop that
   */
  onInterrupt(listener: (nth: number, exitCode: number) => void): () => void {
    let nth = 0;
    const heard = (exitCode: number = ExitCode.cancelled): void => {
      this.#stopWaiting();
      listener((nth += 1), exitCode);
    };
    this.#io.interrupts.on('interrupt', heard);
    return () => this.#io.interrupts.off('interrupt', heard);
  }

  #stopWaiting(): void {
    this.out.stopWaiting();
    this.err.stopWaiting();
  }

  close(): void {
    this.#client?.close();
  }
}
