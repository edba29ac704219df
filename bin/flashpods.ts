/**
 * The command. The client's part is `src/cli`; the roles of the server are loaded when they are asked for, so that
 * `flashpods ps` stays light. Signals are handled here alone: the first asks for an orderly stop, a second forces it.
 */
import { EventEmitter } from 'node:events';
import { constants } from 'node:os';
import { runCli } from '../src/cli/program.ts';
import { ConfigError, loadClientEnvironment } from '../src/config.ts';
import { roleCommands } from './roles/commands.ts';

const interrupts = new EventEmitter<{ interrupt: [] }>();
let nth = 0;
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    nth += 1;
    // Nobody listens to it, or nobody obeys: the process ends as if it had not been caught.
    if (nth > 2 || !interrupts.emit('interrupt')) process.exit(128 + constants.signals[signal]);
  });
}

async function main(): Promise<number> {
  try {
    const { stdout, stderr } = process;
    const io = { stdout, stderr, env: loadClientEnvironment(), interrupts };
    return await runCli(process.argv.slice(2), io, roleCommands(interrupts));
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    process.stderr.write(`flashpods: ${error.message}\n`);
    return 2;
  }
}

// What is waited for may not keep a process alive by itself (a child that was let go of): this does.
setInterval(() => undefined, 2 ** 30);
process.exit(await main());
