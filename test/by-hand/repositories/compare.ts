/** What a job has to see of a tree, told by find(1), sha256sum(1) and git, and not by our own code. */
import { existsSync, lstatSync } from 'node:fs';
import { basename, join } from 'node:path';
import { execa } from 'execa';

/** Lists a tree, and what git says of its repositories; the same outside and inside. `$1` is 1 where `.git` came along. */
export const LIST = `
export LC_ALL=C GIT_OPTIONAL_LOCKS=0
find . -name .git -prune -o -printf '%P\\0%y\\0%m\\0%T@\\0%l\\0' > "$OUT/list"
find . -name .git -prune -o -type f -print0 | sort -z | xargs -0r sha256sum -z -- > "$OUT/sums"
if [ "$GIT" = 1 ]; then
  find . -name .git -print0 | sort -z | while IFS= read -r -d '' dot; do
    top=\${dot%/.git}
    echo "== $top"
    ( cd "$top" || exit
      for words in 'status --porcelain=v2 --branch --untracked-files=all' 'log --format=%H%d -30' \\
        'submodule status --recursive' 'stash list' 'for-each-ref' 'ls-files -s -t' 'fsck --no-progress --no-dangling' \\
        'rev-parse --is-shallow-repository'; do
        echo "-- $words"
        git $words 2>&1
        echo "-- $?"
      done
      echo "-- worktree"
      git worktree list --porcelain |
        awk -v top="worktree $(git rev-parse --show-toplevel)" '
          /^worktree / { count += 1; own = $0 == top; next }
          { all = all $0 "\\n"; if (own) here = here $0 "\\n" }
          END { printf "%s", count == 1 ? all : here } # the only one may be listed by the path of its repository
        ' )
  done > "$OUT/git" 2>&1
fi
true
`;

interface Entry {
  readonly type: string;
  readonly mode: string;
  readonly time: string;
  readonly target: string;
  readonly sum: string;
}

export type Listing = ReadonlyMap<string, Entry>;

/** @param list,sums what {@link LIST} wrote, one character a byte */
export function parseListing(list: string, sums: string): Listing {
  const sumOf = new Map<string, string>();
  for (const line of sums.split('\0')) if (line !== '') sumOf.set(line.slice(68), line.slice(0, 64));
  const fields = list.split('\0');
  const entries = new Map<string, Entry>();
  for (let at = 0; at + 4 < fields.length; at += 5) {
    const [path = '', type = '', mode = '', time = '', target = ''] = fields.slice(at, at + 5);
    entries.set(path === '' ? '.' : path, {
      type,
      mode: type === 'l' ? '' : (Number.parseInt(mode, 8) & 0o777).toString(8),
      time,
      target,
      sum: sumOf.get(path) ?? '',
    });
  }
  return entries;
}

const USUAL = new Set(['node_modules', 'target', '__pycache__', '.venv']);

const hasUsual = (path: string): boolean =>
  path
    .split(/[/ "]/)
    .slice(0, -1)
    .some((name) => USUAL.has(name));

/** The paths that have to arrive: what git tracks or would add, without the usual excludes, and directories with them. */
export async function expectedPaths(
  root: string,
  all: Listing,
  includes: readonly string[],
): Promise<ReadonlySet<string>> {
  const expected = new Set<string>(['.']);
  const isHere = (path: string): boolean => ['f', 'l', 'd'].includes(all.get(path)?.type ?? '');
  const add = (path: string): void => {
    if (!isHere(path)) return;
    for (
      let at = path;
      at !== '.' && !expected.has(at);
      at = at.includes('/') ? at.slice(0, at.lastIndexOf('/')) : '.'
    )
      expected.add(at);
  };
  const names = includes.map((pattern) => pattern.replaceAll('/', ''));
  for (const path of all.keys()) if (path.split('/').some((name) => names.includes(name))) add(path);

  const inside = (top: string): string[] => {
    const start = top === '.' ? '' : `${top}/`;
    return [...all.keys()].filter((path) => path !== '.' && path !== top && path.startsWith(start));
  };
  const visit = async (top: string): Promise<void> => {
    const directory = Buffer.from(top === '.' ? root : `${root}/${top}`, 'latin1').toString();
    const start = top === '.' ? '' : `${top}/`;
    const lines = async (args: string[], input = ''): Promise<string[]> => {
      const { stdout } = await execa('git', args, {
        cwd: directory,
        encoding: 'buffer',
        input: Buffer.from(input, 'latin1'),
        reject: false,
      });
      return Buffer.from(stdout).toString('latin1').split('\0').filter(Boolean);
    };
    const nested: string[] = [];
    const isRepository = (path: string): boolean =>
      all.get(path)?.type === 'd' && existsSync(Buffer.from(`${root}/${path}/.git`, 'latin1'));
    for (const path of await lines(['ls-files', '-z', '--cached'])) {
      if (isRepository(start + path)) nested.push(start + path);
      add(start + path);
    }
    const isUsual = (path: string): boolean =>
      path
        .split('/')
        .slice(0, -1)
        .some((name) => USUAL.has(name));
    for (const other of await lines(['ls-files', '-z', '--others', '--exclude-standard'])) {
      const path = start + other.replace(/\/$/, '');
      if (isUsual(`${other}/`.replace('//', '/'))) continue;
      if (isRepository(path)) nested.push(path);
      add(path);
    }
    const isNested = (path: string): boolean =>
      nested.some((one) => path === one || path.startsWith(`${one}/`));
    const directories = inside(top).filter(
      (path) => all.get(path)?.type === 'd' && !isNested(path) && !isUsual(`${path}/`),
    );
    const asked = directories.map((path) => `${path.slice(start.length)}\0`).join('');
    const ignored = new Set(await lines(['check-ignore', '-z', '--stdin'], asked));
    for (const path of directories) if (!ignored.has(path.slice(start.length))) add(path);
    for (const one of nested) await visit(one);
  };
  await visit('.');
  return expected;
}

/** @returns lines that say what differs */
export function differences(was: Listing, expected: ReadonlySet<string>, is: Listing): string[] {
  const found: string[] = [];
  const show = (path: string): string => JSON.stringify(path);
  for (const path of expected) {
    const [a, b] = [was.get(path), is.get(path)];
    if (!b) found.push(`missing: ${show(path)}`);
    else if (JSON.stringify(a) !== JSON.stringify(b))
      found.push(`differs: ${show(path)}: ${JSON.stringify(a)} became ${JSON.stringify(b)}`);
  }
  for (const path of is.keys()) if (!expected.has(path)) found.push(`not expected: ${show(path)}`);
  return found;
}

/** What git said in two places, without what names the place. */
export function gitDifferences(outside: string, inside: string): string[] {
  // Untracked files of the usual excludes stay behind, in directories that git does not ignore as well.
  const told = (text: string): string[] =>
    text.split('\n').filter((line) => !/^\? .*\//.test(line) || !hasUsual(line));
  const [a, b] = [told(outside), told(inside)];
  const found: string[] = [];
  for (let at = 0; at < Math.max(a.length, b.length) && found.length < 10; at += 1)
    if (a[at] !== b[at]) found.push(`git, line ${at + 1}: ${a[at] ?? '(none)'} became ${b[at] ?? '(none)'}`);
  return found;
}

/** `odd` for a path, an address or `debian:odd`. */
export const nameOf = (source: string): string =>
  basename(
    source
      .replace(/^debian:/, '')
      .replace(/\/+$/, '')
      .replace(/(?:\/repo|\/?\.git)$/, ''),
  );

/** Whether a path is a repository whose files are checked out. */
export const isWorkTree = (path: string): boolean =>
  existsSync(join(path, '.git')) && lstatSync(path).isDirectory();
