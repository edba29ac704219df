import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { ClientError } from '../../client/client-error.ts';
import { describedImages, imagesDirectory } from '../../images/description.ts';
import type { CliContext } from '../context.ts';
import { ExitCode } from '../exit-code.ts';

export interface BuildOptions {
  readonly force?: boolean;
  readonly from?: string;
}

/** Makes images on this machine, with the script that says how; needs no server. */
export async function buildImages(
  names: readonly string[],
  { force = false, from }: BuildOptions,
  context: CliContext,
): Promise<number> {
  const known = describedImages();
  const unknown = names.filter((name) => !known.has(name));
  const directory = imagesDirectory();
  if (unknown.length > 0 || !directory)
    throw new ClientError('invalid_arguments', `There is no image ${unknown.join(', ')} to be made.`, {
      advice: `There are: ${[...known.keys()].join(', ')}.`,
    });
  const options = [...(force ? ['--force'] : []), ...(from === undefined ? [] : ['--from', from])];
  const script = fileURLToPath(new URL('build', directory));
  // What it says goes to stderr. A Ctrl-C reaches it as well: it has the same terminal.
  const child = spawn(script, [...options, ...names], { stdio: ['ignore', 'ignore', 'inherit'] });
  const signal = context.untilInterrupted();
  const stop = (): void => void child.kill('SIGTERM');
  signal.addEventListener('abort', stop, { once: true });
  const [code] = (await once(child, 'exit')) as [number | null];
  signal.removeEventListener('abort', stop);
  signal.throwIfAborted();
  if (code !== 0) {
    context.notice('the image was not made; the reason is above.');
    return ExitCode.error;
  }
  const made = names.map((name) => known.get(name)).filter((image) => image !== undefined);
  if (context.json) await context.out.json({ images: made });
  else for (const { name, summary } of made) await context.out.line(`${name}: ${summary}`);
  return ExitCode.fine;
}
