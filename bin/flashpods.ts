/**
 * The command. The client's part is `src/cli`; the roles of the server are loaded when they are asked for, so that
 * `flashpods ps` stays light, and for `--version` not even the commands are; completion has an entry of its own. Signals
 * are handled here alone: the first asks for an orderly stop, a second forces it.
 */
import { EventEmitter } from 'node:events';
import { constants } from 'node:os';
import { loadClientEnvironment } from '../src/client/environment.ts';

const interrupts = new EventEmitter<{ interrupt: [exitCode: number] }>();
let nth = 0;
// A terminal that closes, or a log that is rotated, stops nothing. Node takes back that nohup had it ignored.
process.on('SIGHUP', () => undefined);
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    nth += 1;
    // Nobody listens to it, or nobody obeys: the process ends as if it had not been caught.
    const exitCode = 128 + constants.signals[signal];
    if (nth > 2 || !interrupts.emit('interrupt', exitCode)) process.exit(exitCode);
  });
}

const argv = process.argv.slice(2);

async function main(): Promise<number> {
  if (argv.length === 1 && (argv[0] === '--version' || argv[0] === '-V')) {
    const { VERSION } = await import('../src/version.ts');
    return print(`${VERSION}\n`);
  }
  // A stream is opened by the first look at it.
  const io = {
    get stdout() {
      return process.stdout;
    },
    get stderr() {
      return process.stderr;
    },
    get stdin() {
      return process.stdin;
    },
    env: loadClientEnvironment(process.env),
    interrupts,
  };
  const roles = async () => (await import('./roles/commands.ts')).roleCommands(interrupts);
  const { runCli } = await import('../src/cli/program.ts');
  return runCli(argv, io, await roles());
}

/** Resolves when all of it has left the process, or nobody wants it. */
function print(text: string): Promise<number> {
  return new Promise((resolve) => {
    const ended = (error?: NodeJS.ErrnoException | null): void => {
      if (!error || error.code === 'EPIPE') return resolve(0);
      process.stderr.write(`flashpods: stdout can't be written (${error.code ?? error.message}).\n`, () =>
        resolve(1),
      );
    };
    // The callback hears of it as well; without a listener it would end the process.
    process.stdout.on('error', () => undefined);
    process.stdout.write(text, ended);
  });
}

// What is waited for may not keep a process alive by itself (a child that was let go of): this does.
setInterval(() => undefined, 2 ** 30);
process.exit(await main());
