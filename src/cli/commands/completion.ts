import type { CliContext } from '../context.ts';
import { completionScript, type Shell } from '../completion/scripts.ts';
import { ExitCode } from '../exit-code.ts';

/** Prints the script that a shell loads. */
export async function completion(shell: Shell, context: CliContext): Promise<number> {
  await context.out.write(completionScript(shell));
  return ExitCode.fine;
}
