/** A real repository in the forms that git knows, each with content of the kinds that get lost on a way. */
import {
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';

export interface Shaped {
  readonly directory: string;
  readonly includes: readonly string[];
}

/** What a shape is made of. */
export interface Parts {
  /** A clone with {@link addContent}; no shape writes to it. */
  readonly seed: string;
  /** Seeds of two other repositories. */
  readonly others: readonly [string, string];
  /** Does not exist yet; its parent is the shape's alone. */
  readonly at: string;
}

const SETTINGS = [
  ...['user.name=t', 'user.email=t@localhost', 'protocol.file.allow=always', 'commit.gpgsign=false'],
  ...['advice.detachedHead=false', 'core.safecrlf=false', 'gc.auto=0'],
].flatMap((setting) => ['-c', setting]);

export async function git(directory: string, ...args: string[]): Promise<string> {
  const { stdout } = await execa('git', [...SETTINGS, ...args], { cwd: directory, stdin: 'ignore' });
  return stdout;
}

const cloneTo = (from: string, at: string, ...options: string[]): Promise<string> =>
  git('/', 'clone', '--quiet', ...options, from, at);

/** Each makes the directory `at`, and says what of it has to be included by name. */
export const SHAPES: Readonly<Record<string, (parts: Parts) => Promise<readonly string[]>>> = {
  async branch({ seed, at }) {
    await cloneTo(seed, at);
    await git(at, 'stash', '--include-untracked').catch(() => undefined);
    return [];
  },
  async submodules({ seed, others: [middle, inner], at }) {
    const between = `${at}.middle`;
    await cloneTo(middle, between);
    await git(between, 'submodule', '--quiet', 'add', inner, 'deps/inner one');
    await git(between, 'commit', '--quiet', '--message', 'a submodule');
    await cloneTo(seed, at);
    await git(at, 'submodule', '--quiet', 'add', between, 'vendor/middle');
    // Not by --recursive: real ones may lie where nobody gets to.
    await git(join(at, 'vendor/middle'), 'submodule', '--quiet', 'update', '--init', 'deps/inner one');
    await git(at, 'commit', '--quiet', '--message', 'submodules');
    await git(at, 'submodule', '--quiet', 'add', inner, 'not-here');
    await git(at, 'commit', '--quiet', '--message', 'one that is not checked out');
    await git(at, 'submodule', '--quiet', 'deinit', '--force', 'not-here');
    writeFileSync(join(at, 'vendor/middle/README.changed'), 'new in a submodule\n');
    return [];
  },
  async worktree({ seed, at }) {
    await cloneTo(seed, `${at}.main`);
    await git(`${at}.main`, 'worktree', 'add', '--quiet', '-b', 'linked', at);
    return [];
  },
  async bareWorktree({ seed, at }) {
    await cloneTo(seed, `${at}.git`, '--bare');
    await git(`${at}.git`, 'worktree', 'add', '--quiet', '--detach', at);
    return [];
  },
  async alternates({ seed, at }) {
    await cloneTo(seed, `${at}.first`, '--shared');
    await cloneTo(`${at}.first`, at, '--shared');
    return [];
  },
  async shallow({ seed, at }) {
    await cloneTo(`file://${seed}`, at, '--depth', '2');
    return [];
  },
  async sparse({ seed, at }) {
    await cloneTo(seed, at);
    await git(at, 'sparse-checkout', 'set', '--cone', '--sparse-index', 'odd');
    return [];
  },
  async detached({ seed, at }) {
    await cloneTo(seed, at);
    await git(at, 'checkout', '--quiet', '--detach', 'HEAD');
    await git(at, 'tag', '--annotate', '--message', 'one', 'v0.0.1-here');
    return [];
  },
  async rebase({ seed, at }) {
    await cloneTo(seed, at);
    const file = join(at, 'odd/contested');
    for (const [branch, text] of [
      ['ours', 'one\n'],
      ['theirs', 'two\n'],
    ] as const) {
      await git(at, 'checkout', '--quiet', '-B', branch, 'origin/HEAD');
      writeFileSync(file, text);
      await git(at, 'add', '--', file);
      await git(at, 'commit', '--quiet', '--message', branch);
    }
    await git(at, 'rebase', 'ours').catch(() => undefined);
    if (!existsSync(join(at, '.git/rebase-merge'))) throw new Error('the rebase does not stand still');
    return [];
  },
  async separate({ seed, at }) {
    await cloneTo(seed, at, '--separate-git-dir', `${at}.elsewhere`);
    await git(at, 'config', 'core.worktree', at);
    return [];
  },
  /** What a person has installed, and git ignores. */
  async installed({ seed, at }) {
    await cloneTo(seed, at);
    if (!existsSync(join(at, 'package-lock.json'))) {
      const fake = { name: 'with-dependencies', version: '1.0.0', dependencies: { tar: '7' } };
      if (!existsSync(join(at, 'package.json')))
        writeFileSync(join(at, 'package.json'), JSON.stringify(fake));
      await execa('npm', ['install', '--package-lock-only', '--ignore-scripts', '--no-audit'], { cwd: at });
    }
    const npm = ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--force'];
    await execa('npm', npm, { cwd: at });
    await execa('python3', ['-m', 'venv', '--without-pip', join(at, '.venv')]);
    return ['node_modules/', '/.venv/'];
  },
};

const raw = (text: string): Buffer => Buffer.from(text, 'latin1');
const below = (at: string, name: string): Buffer => Buffer.concat([Buffer.from(`${at}/`), raw(name)]);

/** Puts into a clone what is seldom in one, and commits it. */
export async function addContent(clone: string): Promise<void> {
  const odd = join(clone, 'odd');
  mkdirSync(odd);
  for (const name of [
    ...['with space', 'two\nlines', 'tab\t', 'trailing ', '-rf', '*', '[a].o', 'back\\slash', '!not', '#no'],
    ...[
      Buffer.from('grüße 日本').toString('latin1'),
      'latin\xe9\xff',
      'CASE',
      'case',
      'Case',
      'n'.repeat(255),
    ],
  ])
    writeFileSync(below(odd, name), `${name}\n`, 'latin1');
  writeFileSync(join(odd, 'run me'), '#!/bin/sh\nexit 0\n', { mode: 0o755 });
  for (const [name, target] of [
    ['out', '/usr/bin/env'],
    ['up', '../../elsewhere'],
    ['nowhere', 'missing'],
    ['to a file', 'run me'],
    ['bytes', '\xff\xfe'],
  ] as const)
    symlinkSync(raw(target), below(odd, name));
  const pointer = `version https://git-lfs.github.com/spec/v1\noid sha256:${'4d'.repeat(32)}\nsize 12345\n`;
  const files = {
    '.gitattributes': '*.crlf text eol=crlf\n*.big filter=lfs diff=lfs merge=lfs -text\n*.sub ident\n',
    'dos.crlf': 'one\r\ntwo\r\n',
    'video.big': pointer,
    'sub.sub': '$Id$\n',
    '.gitignore': '*.log\n!keep.log\nforced/\n/out.d/\n**/deep/*.tmp\n',
    'keep.log': 'kept\n',
    'tracked.log': 'tracked though ignored\n',
    'forced/in': 'tracked though its directory is ignored\n',
    'forced/.gitignore': '*\n',
    'vendor/node_modules/m/index.js': 'module.exports = 1;\n',
    'vendor/target/lib.c': 'int x;\n',
    'inner/.gitignore': '!*.log\n/only here\n',
    'inner/again.log': 'brought back\n',
  };
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(join(odd, name, '..'), { recursive: true });
    writeFileSync(join(odd, name), text);
  }
  await git(clone, 'add', '--force', '--all', 'odd');
  await git(clone, 'commit', '--quiet', '--message', 'odd content');
}

/** What a work tree looks like when somebody works in it: changes of every kind, leftovers, times, links. */
export async function addDirt(directory: string): Promise<void> {
  const odd = join(directory, 'odd');
  const put = (name: string, text = name): void => {
    mkdirSync(join(odd, name, '..'), { recursive: true });
    writeFileSync(join(odd, name), text);
  };
  for (const name of ['noise.log', 'forced/new', 'out.d/x', 'a/b/deep/x.tmp', 'inner/only here']) put(name);
  for (const name of ['new', 'node_modules/usual.js', 'inner/more.log', 'vendor/node_modules/m/left.js'])
    put(name);
  put('staged', 'staged\n');
  await git(directory, 'add', '--', 'odd/staged');
  put('keep.log', 'changed\n');
  chmodSync(join(odd, 'with space'), 0o755);
  rmSync(join(odd, 'tracked.log'));
  linkSync(join(odd, 'new'), join(odd, 'hard link'));
  mkdirSync(join(odd, 'empty/er'), { recursive: true });
  chmodSync(join(odd, 'empty'), 0o2750);
  await execa('mkfifo', [join(odd, 'pipe')]);
  await execa('python3', [
    '-c',
    `import os, socket, sys
os.chdir(sys.argv[1]); socket.socket(socket.AF_UNIX).bind('socket')
try: os.setxattr('new', 'user.flashpods', b'x')
except OSError: pass`,
    odd,
  ]);
  const times = [
    '1961-04-12T06:07:00.000000001Z',
    '2106-02-07T06:28:16.999999999Z',
    '2026-11-11T11:11:11.1Z',
  ];
  for (const [index, time] of times.entries())
    await execa('touch', ['-h', '-d', time, ...(['case', 'out', 'empty'][index] ?? '').split(' ')], {
      cwd: odd,
    });
}

/** A change of the kinds that a second upload has to notice. */
export async function change(directory: string): Promise<void> {
  const odd = join(directory, 'odd');
  if (!existsSync(odd)) return;
  rmSync(join(odd, 'case'), { force: true });
  symlinkSync('CASE', join(odd, 'case'));
  rmSync(join(odd, 'vendor'), { recursive: true, force: true });
  writeFileSync(join(odd, 'vendor'), 'a file in the place of a directory\n');
  chmodSync(join(odd, 'run me'), 0o700);
  writeFileSync(below(odd, 'latin\xe9\xff'), 'other\n');
  for (const name of readdirSync(odd).filter((one) => one.startsWith('nnn'))) rmSync(join(odd, name));
  await git(directory, 'add', '--', 'odd/CASE');
}
