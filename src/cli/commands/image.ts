import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { ClientError } from '../../client/client-error.ts';
import { describedImages, imagesDirectory } from '../../images/description.ts';
import { pause } from '../../timing/bell.ts';
import type { CliContext } from '../context.ts';
import { ExitCode } from '../exit-code.ts';
import { showBytes } from '../quantity.ts';
import { type Column, table } from '../table.ts';
import { sanitize } from '../terminal.ts';

export interface BuildOptions {
  readonly force?: boolean;
  readonly from?: string;
}

/** A server looks every few seconds which images its host has. */
const LISTED_WITHIN_MS = 15_000;
const LOOK_EVERY_MS = 500;

const COLUMNS: readonly Column[] = [
  { title: 'NAME' },
  { title: 'SIZE', right: true },
  { title: 'HOSTS' },
  { title: 'WHAT IS IN IT' },
];

/** Lists the images that hosts have, and those of ours that none has. */
export async function listImages(context: CliContext): Promise<number> {
  const client = await context.client();
  const answer = await client.images(undefined, context.untilInterrupted());
  if (context.json) {
    await context.out.json(answer);
    return ExitCode.fine;
  }
  const rows = answer.images.map(({ name, size_bytes: size, hosts, summary, programs, packages = [] }) =>
    [
      [name, ...packages].join(OVER),
      showBytes(size),
      hosts.join(' '),
      packages.length > 0 ? 'installed for your jobs' : contents(summary, programs),
    ].map(sanitize),
  );
  for (const line of table(COLUMNS, rows)) await context.out.line(line);
  if (answer.images.length === 0) context.notice('no host has reported an image yet.');
  for (const { name, summary } of answer.buildable)
    context.notice(`\`flashpods image build ${name}\` makes ${name}: ${summary}`);
  return ExitCode.fine;
}

/** What `image ls` puts between an image and each of its packages. No name has it: they have no blanks. */
const OVER = ' + ';

/** @param names as `image ls` shows them */
export async function removeImages(names: readonly string[], context: CliContext): Promise<number> {
  const client = await context.client();
  for (const name of names) {
    const [image = '', ...packages] = name.split(OVER).map((part) => part.trim());
    const hosts = await client.removeImage(image, packages, context.untilInterrupted());
    // One at a time: where the next can't be removed, what is gone has been said.
    if (context.json) await context.out.json({ name, hosts });
    else await context.out.line(sanitize(`${name}: removed from ${hosts.join(', ')}`));
  }
  return ExitCode.fine;
}

function contents(summary: string | null, programs: Readonly<Record<string, string>>): string {
  const versions = Object.entries(programs).map(([program, version]) => `${program} ${version}`);
  return [summary ?? '', versions.length > 0 ? `(${versions.join(', ')})` : ''].filter(Boolean).join(' ');
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
  await untilListed(names, context);
  const made = names.map((name) => known.get(name)).filter((image) => image !== undefined);
  if (context.json) await context.out.json({ images: made });
  else for (const { name, summary } of made) await context.out.line(`${name}: ${summary}`);
  return ExitCode.fine;
}

/** So that the next command can use them: a server that runs has seen them. One that does not answer is no matter. */
async function untilListed(names: readonly string[], context: CliContext): Promise<void> {
  const limit = AbortSignal.timeout(LISTED_WITHIN_MS);
  try {
    const client = await context.client();
    while (!limit.aborted) {
      const { images } = await client.images(undefined, limit);
      if (names.every((wanted) => images.some(({ name }) => name === wanted))) return;
      await pause(LOOK_EVERY_MS, limit);
    }
  } catch (error) {
    if (!limit.aborted && !(error instanceof ClientError)) throw error;
  }
}
