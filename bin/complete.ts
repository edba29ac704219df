/**
 * What the shells run at each press of Tab: an entry of its own, which loads neither the commands nor what they need.
 */
import { answerCompletion } from '../src/cli/completion/answer.ts';
import type { CommandEntry } from '../src/cli/completion/catalogue.ts';
import { askServer } from '../src/cli/completion/server-values.ts';
import { loadClientEnvironment } from '../src/client/environment.ts';

const env = loadClientEnvironment(process.env);
const place = { root: new URL('..', import.meta.url), cacheDir: env.cacheDir };
const answer = await answerCompletion(process.argv.slice(2), place, describe, askServer(env));
// Without waiting for what was asked in vain, and in silence when nobody reads it any more.
process.stdout.on('error', () => process.exit());
process.stdout.write(answer, () => process.exit());

/** The program has changed since the last time. */
async function describe(): Promise<CommandEntry> {
  const { EventEmitter } = await import('node:events');
  const { describeProgram } = await import('../src/cli/program.ts');
  const { roleCommands } = await import('../bin/roles/commands.ts');
  const interrupts = new EventEmitter<{ interrupt: [exitCode: number] }>();
  const { stdout, stderr } = process;
  return describeProgram({ stdout, stderr, env, interrupts }, roleCommands(interrupts));
}
