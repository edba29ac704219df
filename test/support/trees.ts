/**
 * Trees on a disk, made from a list and read back as one, so that what arrived somewhere can be compared with what was
 * there: names as bytes, modes, times to the nanosecond, contents, links and empty directories.
 */
import { createHash } from 'node:crypto';
import { chmodSync, lstatSync, mkdirSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { symlinkSync, writeFileSync } from 'node:fs';
import { execa } from 'execa';
import fc from 'fast-check';

/** One entry; the first of a list is the top directory, with the path `.`. */
export interface TreeNode {
  /** Below the top, with slashes; one character a byte ('latin1'), since names need not be UTF-8. */
  readonly path: string;
  readonly type: 'file' | 'directory' | 'symlink';
  /** Permission bits; 0o777 of a symlink, which has none. */
  readonly mode: number;
  /** Since the epoch; negative before it. */
  readonly mtimeNs: bigint;
  /** What a file holds, as 'latin1'; in a list that was read, a long one is its length and its SHA-256. */
  readonly content: string | null;
  /** Of a symlink, as 'latin1'. */
  readonly target: string | null;
}

export interface TreeChoices {
  /** Entries beside the top directory. */
  readonly maxEntries?: number;
  /** Without it every name is printable ASCII. */
  readonly oddNames?: boolean;
  /** Targets of symlinks lead anywhere; without it they stay in the tree. */
  readonly outwardLinks?: boolean;
}

/** What every file system that tests run on can hold: ext4 has 34 bits of seconds. */
const MIN_SECONDS = -(2 ** 31) + 1;
const MAX_SECONDS = 15_032_385_534;
const SHOWN_BYTES = 256;

const raw = (text: string): string => Buffer.from(text).toString('latin1');
const bytesOf = (name: string): Buffer => Buffer.from(name, 'latin1');
const at = (root: string, path: string): Buffer => Buffer.concat([Buffer.from(`${root}/`), bytesOf(path)]);

const plainName = fc.stringMatching(/^[a-z][a-z0-9._-]{0,11}$/);
const oddName = fc
  .oneof(
    { weight: 4, arbitrary: plainName },
    fc.constantFrom(
      ...[
        'a b',
        '-rf',
        '--',
        '~',
        '~root',
        'two\nlines',
        'tab\t',
        ' leading',
        'trailing ',
        '*',
        '?',
        '[a]',
        '[!a]',
      ],
      ...[
        'back\\slash',
        '\\',
        '{a,b}',
        '#comment',
        '!not',
        '$HOME',
        '"quoted"',
        "'",
        '...',
        '..a',
        'CASE',
        'case',
        'Case',
      ],
      ...[
        '%s',
        'a:b',
        '@',
        '+',
        'README.md ',
        '\u007f',
        raw('grüße'),
        raw('日本語'),
        raw('e\u0301'),
        '\xff\xfe',
        'latin\xe9',
      ],
      ...['n'.repeat(255), raw('ü'.repeat(127)), '.hidden', 'x.gitignore'],
    ),
    fc
      .uint8Array({ minLength: 1, maxLength: 20 })
      .map((bytes) => Buffer.from(bytes).toString('latin1').replaceAll(/[/\0]/g, '_')),
  )
  .filter((name) => !['.', '..', '.git', '.gitignore', '.flashpodsignore', ''].includes(name));

const mtimeNs = fc
  .tuple(
    fc.oneof(
      fc.integer({ min: MIN_SECONDS, max: MAX_SECONDS }),
      fc.constantFrom(
        0,
        -1,
        1,
        2 ** 31 - 1,
        2 ** 31,
        2 ** 32 - 1,
        2 ** 32,
        2 ** 33,
        MIN_SECONDS,
        MAX_SECONDS - 1,
      ),
      fc.integer({ min: 1_600_000_000, max: 1_800_000_000 }),
    ),
    fc.oneof(fc.integer({ min: 0, max: 999_999_999 }), fc.constantFrom(0, 1, 999, 999_999_999, 500_000_000)),
  )
  .map(([seconds, nanoseconds]) => BigInt(seconds) * 1_000_000_000n + BigInt(nanoseconds));

const content = fc.oneof(
  { weight: 6, arbitrary: fc.uint8Array({ maxLength: 100 }).map((bytes) => Buffer.from(bytes)) },
  fc
    .tuple(fc.constantFrom(0, 1, 511, 512, 513, 1_024, 65_536, 70_001, 1_048_577), fc.nat(255))
    .map(([size, fill]) => Buffer.alloc(size, fill)),
);

const inwardTarget = fc.constantFrom('a', 'a/b', './x', 'missing', 'sub/../a', 'here now');
const anyTarget = fc.oneof(
  inwardTarget,
  fc.constantFrom(
    '/etc/passwd',
    '/',
    '..',
    '../..',
    '../../../../../../etc/passwd',
    'a/../../../x',
    '/nowhere',
    '.',
  ),
  fc.constantFrom(
    '\xff',
    raw('ä/ö'),
    'x'.repeat(300),
    '/rsyncd-munged/etc/passwd',
    '-',
    '~',
    '//etc',
    'two\nlines',
  ),
);

interface Draft {
  readonly parent: number;
  readonly name: string;
  readonly type: TreeNode['type'];
  readonly mode: number;
  readonly mtimeNs: bigint;
  readonly content: Buffer;
  readonly target: string;
}

/** Trees that the user of the tests can read: files are at least u+r, directories u+rwx. */
export function treeArbitrary(choices: TreeChoices = {}): fc.Arbitrary<readonly TreeNode[]> {
  const { maxEntries = 20, oddNames = true, outwardLinks = true } = choices;
  const mode = fc.oneof(
    fc.constantFrom(0o644, 0o755, 0o600, 0o700, 0o777, 0o444),
    fc.integer({ min: 0, max: 0o777 }),
  );
  const draft: fc.Arbitrary<Draft> = fc.record({
    parent: fc.nat(),
    name: oddNames ? oddName : plainName,
    type: fc.constantFrom<TreeNode['type'][]>('file', 'file', 'file', 'directory', 'directory', 'symlink'),
    mode,
    mtimeNs,
    content,
    target: outwardLinks ? anyTarget : inwardTarget,
  });
  return fc
    .tuple(mode, mtimeNs, fc.array(draft, { maxLength: maxEntries }))
    .map(([topMode, topTime, drafts]) => {
      const top: TreeNode = {
        ...EMPTY,
        path: '.',
        type: 'directory',
        mode: topMode | 0o700,
        mtimeNs: topTime,
      };
      const nodes = [top];
      const taken = new Set<string>();
      for (const { parent, name, type, ...rest } of drafts) {
        const directories = nodes.filter((node) => node.type === 'directory');
        const above = directories[parent % directories.length]?.path ?? '.';
        const path = above === '.' ? name : `${above}/${name}`;
        if (taken.has(path) || path.length > 3_000) continue;
        taken.add(path);
        const common = { path, type, mtimeNs: rest.mtimeNs };
        if (type === 'directory') nodes.push({ ...EMPTY, ...common, mode: rest.mode | 0o700 });
        else if (type === 'symlink') nodes.push({ ...EMPTY, ...common, mode: 0o777, target: rest.target });
        else
          nodes.push({
            ...EMPTY,
            ...common,
            mode: rest.mode | 0o400,
            content: rest.content.toString('latin1'),
          });
      }
      return nodes;
    });
}

const EMPTY = { content: null, target: null } as const;

/** Makes the tree in `root`, which must not be there. Its list is what {@link readTree} says then. */
export async function makeTree(root: string, nodes: readonly TreeNode[]): Promise<void> {
  for (const { path, type, content: text, target } of nodes) {
    if (path === '.') mkdirSync(root, { mode: 0o700 });
    else if (type === 'directory') mkdirSync(at(root, path), { mode: 0o700 });
    else if (type === 'symlink') symlinkSync(bytesOf(target ?? ''), at(root, path));
    else writeFileSync(at(root, path), bytesOf(text ?? ''), { flag: 'wx', mode: 0o600 });
  }
  await setTimes(root, nodes);
  // The deepest first: a directory may lose the permission to go through it.
  for (const { path, type, mode } of [...nodes].reverse())
    if (type !== 'symlink') chmodSync(at(root, path), mode);
}

/** By touch(1), since no call of Node takes nanoseconds. */
async function setTimes(root: string, nodes: readonly TreeNode[]): Promise<void> {
  const words = nodes.flatMap(({ path, mtimeNs: time }) => [
    Buffer.from(`${showTime(time)}\0`),
    at(root, path),
    Buffer.from('\0'),
  ]);
  const touch = 'touch -h -d "@$1" -- "$2"';
  await execa('xargs', ['-0', '-n', '2', 'sh', '-c', touch, 'sh'], { input: Buffer.concat(words) });
}

/** `-0.500000000` for half a second before the epoch. */
export function showTime(ns: bigint): string {
  const size = ns < 0n ? -ns : ns;
  return `${ns < 0n ? '-' : ''}${size / 1_000_000_000n}.${String(size % 1_000_000_000n).padStart(9, '0')}`;
}

/** What a tree holds, the top directory first, then all by their paths. */
export function readTree(root: string): TreeNode[] {
  const nodes: TreeNode[] = [];
  const visit = (path: string): void => {
    const where = at(root, path);
    const stats = lstatSync(where, { bigint: true });
    const common = { ...EMPTY, path, mode: Number(stats.mode & 0o7777n), mtimeNs: stats.mtimeNs };
    if (stats.isSymbolicLink()) {
      nodes.push({ ...common, type: 'symlink', mode: 0o777, target: readlinkSync(where, 'latin1') });
    } else if (stats.isFile()) {
      nodes.push({ ...common, type: 'file', content: shownContent(readFileSync(where)) });
    } else if (stats.isDirectory()) {
      nodes.push({ ...common, type: 'directory' });
      for (const name of readdirSync(where, 'latin1')) visit(path === '.' ? name : `${path}/${name}`);
    } else throw new Error(`${JSON.stringify(path)} is neither a file nor a directory nor a symlink`);
  };
  visit('.');
  return comparable(nodes);
}

/** A list as {@link readTree} gives it: in its order, and with long contents shortened. */
export const comparable = (nodes: readonly TreeNode[]): TreeNode[] =>
  nodes
    .map((node) => ({
      ...node,
      content: node.content === null ? null : shownContent(bytesOf(node.content)),
    }))
    .sort((a, b) => (a.path === '.' ? -1 : b.path === '.' ? 1 : a.path < b.path ? -1 : 1));

const shownContent = (bytes: Buffer): string =>
  bytes.length <= SHOWN_BYTES
    ? bytes.toString('latin1')
    : `${bytes.length} bytes, sha256 ${createHash('sha256').update(bytes).digest('hex')}`;
