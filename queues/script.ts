/**
 * Lua scripts: one file an operation. A line `-- @include name` stands for `includes/name.lua` beside the script;
 * a file that is included twice is pasted once.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { Redis } from 'ioredis';

const INCLUDE = /^-- @include (\S+)$/;

/** @throws Error when a file is missing */
export function readScript(file: URL, includes: URL, seen = new Set<string>()): string {
  return readFileSync(file, 'utf8')
    .split('\n')
    .map((line) => {
      const name = INCLUDE.exec(line)?.[1];
      if (name === undefined) return line;
      if (seen.has(name)) return '';
      seen.add(name);
      return readScript(new URL(`${name}.lua`, includes), includes, seen);
    })
    .join('\n');
}

/** One script, read when it is first run. */
export class Script {
  readonly #file: URL;
  #source: { text: string; sha: string } | undefined;

  constructor(file: URL) {
    this.#file = file;
  }

  /** Runs the script by its hash; a Redis that has forgotten it (a restart) gets its text. */
  async run(
    connection: Redis,
    keys: readonly string[],
    args: readonly (string | number)[],
  ): Promise<unknown> {
    const { text, sha } = (this.#source ??= load(this.#file));
    try {
      return await connection.evalsha(sha, keys.length, ...keys, ...args);
    } catch (error) {
      if (!(error instanceof Error && error.message.startsWith('NOSCRIPT'))) throw error;
      return await connection.eval(text, keys.length, ...keys, ...args);
    }
  }
}

function load(file: URL): { text: string; sha: string } {
  const text = readScript(file, new URL('../semaphore/includes/', file));
  return { text, sha: createHash('sha1').update(text).digest('hex') };
}

/** A script of the folder of the module that asks: `scriptsOf(import.meta.url)('reserve')`. */
export const scriptsOf =
  (module: string) =>
  (name: string): Script =>
    new Script(new URL(`./${name}.lua`, module));
