/** What can be typed, taken from the program itself and kept in a file: loading the program would take too long. */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { systemCode } from '../../errors.ts';

// Neither this nor what it imports loads node:crypto (see default-directories.ts), or node:fs by `import` (environment.ts).
const { mkdirSync, readdirSync, readFileSync, renameSync, statSync, writeFileSync } =
  process.getBuiltinModule('node:fs');

export interface OptionEntry {
  readonly short: string | null;
  readonly long: string;
  readonly description: string;
  /** What stands between the angle brackets; null for a switch. */
  readonly takes: string | null;
  readonly choices: readonly string[];
}

export interface ArgumentEntry {
  readonly name: string;
  readonly variadic: boolean;
  readonly choices: readonly string[];
}

export interface CommandEntry {
  readonly name: string;
  readonly summary: string;
  readonly options: readonly OptionEntry[];
  readonly arguments: readonly ArgumentEntry[];
  readonly commands: readonly CommandEntry[];
  /** What follows the first argument is somebody else's, options included. */
  readonly passesThrough: boolean;
}

export interface Place {
  /** Of the program: what holds `bin` and `src`. */
  readonly root: URL;
  readonly cacheDir: string;
}

interface Kept {
  readonly key: string;
  readonly catalogue: CommandEntry;
}

/** From the cache, or made by `describe` when the program has changed since. */
export async function loadCatalogue(
  { root, cacheDir }: Place,
  describe: () => Promise<CommandEntry>,
): Promise<CommandEntry> {
  const file = join(cacheDir, 'commands.json');
  const key = programKey(root);
  try {
    const kept = JSON.parse(readFileSync(file, 'utf8')) as Kept;
    if (kept.key === key) return kept.catalogue;
  } catch (error) {
    if (!(error instanceof SyntaxError) && systemCode(error) === undefined) throw error;
  }
  const catalogue = await describe();
  try {
    mkdirSync(cacheDir, { recursive: true, mode: 0o700 });
    const draft = `${file}.${process.pid}`;
    writeFileSync(draft, JSON.stringify({ key, catalogue } satisfies Kept), { mode: 0o600 });
    renameSync(draft, file);
  } catch (error) {
    if (systemCode(error) === undefined) throw error;
  }
  return catalogue;
}

/** Changes with the files that make the program, and with the place where they lie. */
function programKey(root: URL): string {
  const facts: string[] = [];
  for (const folder of ['src/', 'src/cli/', 'src/jobs/', 'bin/', 'bin/roles/']) {
    const path = fileURLToPath(new URL(folder, root));
    facts.push(path);
    for (const name of readdirSync(path)) {
      if (!/\.[jt]s$/.test(name)) continue;
      const { mtimeMs, size } = statSync(join(path, name));
      facts.push(`${name}:${mtimeMs}:${size}`);
    }
  }
  return facts.join(' ');
}
