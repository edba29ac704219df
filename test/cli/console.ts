import { EventEmitter } from 'node:events';
import { PassThrough } from 'node:stream';
import { type CliIo, type CliStream } from '../../src/cli/io.ts';
import { runCli } from '../../src/cli/program.ts';
import { loadClientEnvironment } from '../../src/client/environment.ts';

/** A command line in this process: what it printed so far, its Ctrl-C, its exit code. */
export interface Running {
  readonly stdout: () => string;
  readonly stdoutBytes: () => Buffer;
  readonly stderrBytes: () => Buffer;
  readonly stderr: () => string;
  readonly interrupt: () => void;
  readonly exitCode: Promise<number>;
}

export interface ConsoleOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly terminal?: boolean;
}

export function start(args: readonly string[], { env = {}, terminal = false }: ConsoleOptions = {}): Running {
  const [stdout, out] = captured(terminal);
  const [stderr, err] = captured(terminal);
  const interrupts: CliIo['interrupts'] = new EventEmitter();
  const home = '/nonexistent';
  const environment = loadClientEnvironment({
    HOME: home,
    FLASHPODS_API_TOKEN: 'a-token-for-the-test',
    ...env,
  });
  const exitCode = runCli(args, { stdout, stderr, env: environment, interrupts });
  return {
    stdout: () => out().toString(),
    stderr: () => err().toString(),
    stdoutBytes: out,
    stderrBytes: err,
    interrupt: () => interrupts.emit('interrupt'),
    exitCode,
  };
}

export async function finished(
  args: readonly string[],
  options?: ConsoleOptions,
): Promise<{ stdout: string; stderr: string; exitCode: number }> {
  const running = start(args, options);
  const exitCode = await running.exitCode;
  return { stdout: running.stdout(), stderr: running.stderr(), exitCode };
}

function captured(terminal: boolean): [CliStream, () => Buffer] {
  const chunks: Buffer[] = [];
  const stream = new PassThrough();
  stream.on('data', (chunk: Buffer) => chunks.push(chunk));
  return [Object.assign(stream, { isTTY: terminal, columns: 120 }), () => Buffer.concat(chunks)];
}
