/**
 * What the shells run at each press of Tab: an entry of its own, for somebody waits with a finger on the key. The server
 * is asked what it will most likely have to be asked while the rest is still being loaded.
 */
import type { CommandEntry } from '../src/cli/completion/catalogue.ts';
import { ServerAhead } from '../src/cli/completion/server-values.ts';
import { systemCode } from '../src/errors.ts';
import { loadClientEnvironment } from '../src/client/environment.ts';

const words = process.argv.slice(2);
const env = loadClientEnvironment(process.env);
const server = new ServerAhead(env);
server.expect(words);
// Two turns of the event loop: in one the connection is there, and the question leaves.
for (let turn = 0; turn < 2; turn += 1) await new Promise(setImmediate);
const { answerCompletion } = await import('../src/cli/completion/answer.ts');
print(
  await answerCompletion(
    words,
    { root: new URL('..', import.meta.url), cacheDir: env.cacheDir },
    describe,
    (flags) => server.at(flags),
  ),
);
// Without waiting for what was asked in vain.
process.exit();

async function describe(): Promise<CommandEntry> {
  const { EventEmitter } = await import('node:events');
  const { describeProgram } = await import('../src/cli/program.ts');
  const { roleCommands } = await import('../bin/roles/commands.ts');
  const interrupts = new EventEmitter<{ interrupt: [exitCode: number] }>();
  const { stdout, stderr } = process;
  return describeProgram({ stdout, stderr, env, interrupts }, roleCommands(interrupts));
}

/** Not through a stream of Node's: opening one takes a millisecond. */
function print(text: string): void {
  const { writeSync } = process.getBuiltinModule('node:fs');
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length;) {
    try {
      at += writeSync(1, bytes, at);
    } catch (error) {
      // A slow reader, where the pipe does not wait for one. Any other error: nobody reads it any more.
      if (systemCode(error) !== 'EAGAIN') return;
    }
  }
}
