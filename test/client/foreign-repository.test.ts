import assert from 'node:assert/strict';
import {
  access,
  appendFile,
  chmod,
  cp,
  mkdir,
  readdir,
  readFile,
  rename,
  rm,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { execa } from 'execa';
import { before, beforeEach, describe, it } from 'mocha';
import type { RuleOptions } from '../../src/client/upload/rules.ts';
import { listTree, type Tree } from '../../src/client/upload/tree.ts';
import { scratch } from '../support/scratch.ts';

/**
 * Repositories that somebody else made, as they come with artifacts, archives and the disks of others: sending one runs
 * nothing that it names, and takes nothing along that it points to elsewhere.
 */
describe('sending a repository of somebody else', () => {
  const directory = scratch();
  const templates = scratch();
  let source: string;
  let marker: string;
  let program: string;
  beforeEach(async () => {
    await directory.make();
    await rm(directory.path(), { recursive: true, force: true });
    source = directory.path('source');
    marker = directory.path('was-run');
    program = directory.path('program');
    await mkdir(source, { recursive: true });
    await writeFile(program, `#!/bin/sh\ntouch ${marker}\nexit 1\n`);
    await chmod(program, 0o755);
  });

  let template: string;
  before(async () => {
    template = join(await templates.make(), 'template');
    await makeTemplate(template);
  });

  const git = (at: string, ...args: string[]) =>
    execa('git', ['-c', 'user.name=t', '-c', 'user.email=t@t', ...args], { cwd: at });
  const list = (options: Partial<RuleOptions> = {}): Promise<Tree> =>
    listTree(source, { excludes: [], ...options });
  const filesOf = ({ entries }: Tree): string[] =>
    entries.filter(({ type }) => type !== 'directory').map(({ path }) => path);
  const wasRun = (): Promise<boolean> =>
    access(marker).then(
      () => true,
      () => false,
    );

  /** git looks for objects that are missing: a `.gitignore` and a directory that are not checked out. */
  async function begin(at: string): Promise<void> {
    await cp(template, at, { recursive: true });
  }
  async function makeTemplate(at: string): Promise<void> {
    await mkdir(join(at, 'dir', 'deep'), { recursive: true });
    await git(at, 'init', '-q');
    await writeFile(join(at, 'dir', 'deep', 'x'), 'x\n');
    await writeFile(join(at, '.gitignore'), '*.o\n');
    await writeFile(join(at, 'f.c'), 'int x;\n');
    await writeFile(join(at, '.gitattributes'), '*.c filter=evil diff=evil\n');
    await git(at, 'add', '.');
    await git(at, 'commit', '-qm', 'first');
    await git(at, 'sparse-checkout', 'set', '--cone', '--sparse-index');
    await git(at, 'update-index', '--skip-worktree', '.gitignore');
    const { stdout } = await git(at, 'rev-parse', ':.gitignore', 'HEAD:dir', 'HEAD:dir/deep');
    for (const id of stdout.split('\n')) await rm(join(at, '.git', 'objects', id.slice(0, 2), id.slice(2)));
    await rm(join(at, '.gitignore'));
    await writeFile(join(at, 'untracked'), '');
    await writeFile(join(at, 'f.c'), 'int changed;\n');
  }

  const promisor = (url: string): string =>
    `[core]\n repositoryformatversion = 1\n[extensions]\n partialClone = o\n[remote "o"]\n promisor = true\n url = ${url}\n fetch = +refs/*:refs/*\n`;
  const HOSTILE: Readonly<Record<string, () => string>> = {
    'a remote by ssh': () =>
      `${promisor('ssh://x/y')}[core]\n sshCommand = ${program}\n[protocol "ssh"]\n allow = always\n`,
    'a remote by a program': () =>
      `${promisor(`ext::${program}`)}[protocol]\n allow = always\n[protocol "ext"]\n allow = always\n`,
    'a remote here': () =>
      `${promisor(source)} uploadpack = ${program}\n[protocol "file"]\n allow = always\n`,
    'a remote helper': () => `${promisor(`evil::x`)} vcs = evil\n[protocol "evil"]\n allow = always\n`,
    'a remote by a proxy': () => `${promisor('git://x/y')}[core]\n gitProxy = ${program}\n`,
    filters: () =>
      `[filter "evil"]\n clean = ${program}\n smudge = ${program}\n process = ${program}\n required = true\n[diff "evil"]\n textconv = ${program}\n command = ${program}\n`,
    'a monitor of files': () => `[core]\n fsmonitor = ${program}\n fsmonitorHookVersion = 2\n`,
    hooks: () => `[core]\n hooksPath = ${directory.path('hooks')}\n`,
    'an included file': () => `[include]\n path = ${directory.path('included')}\n`,
    'another work tree': () => `[core]\n worktree = ${directory.path('elsewhere')}\n`,
    'objects of others': () => `[core]\n alternateRefsCommand = ${program}\n`,
    'programs to look and ask': () =>
      `[core]\n pager = ${program}\n askPass = ${program}\n editor = ${program}\n[pager]\n ls-files = ${program}\n config = ${program}\n[credential]\n helper = ${program}\n[alias]\n ls-files = !${program}\n`,
    'a trace': () => `[trace2]\n eventTarget = ${marker}\n`,
  };

  for (const [what, config] of Object.entries(HOSTILE)) {
    it(`runs nothing for ${what}: at the top, below, as a submodule, above`, async () => {
      await begin(source);
      await writeFile(
        directory.path('included'),
        `${promisor('ssh://x/y')}[core]\n sshCommand = ${program}\n`,
      );
      await mkdir(directory.path('hooks'));
      for (const hook of ['post-index-change', 'fsmonitor-watchman', 'reference-transaction'])
        await symlink(program, directory.path('hooks', hook));
      await appendFile(join(source, '.git', 'config'), config());
      const modules = join(source, '.git', 'modules', 'm');
      const copy = directory.path('copy');
      await cp(source, copy, { recursive: true });
      await cp(join(copy, '.git'), modules, { recursive: true });
      await mkdir(join(source, 'below'));
      await rename(copy, join(source, 'below', 'it'));
      await appendFile(join(modules, 'config'), `[core]\n worktree = ../../../sub\n`);
      await mkdir(join(source, 'sub'));
      await writeFile(join(source, 'sub', '.git'), 'gitdir: ../.git/modules/m\n');
      await writeFile(join(source, 'sub', 'f.c'), '');
      const files = filesOf(await list());
      for (const path of ['f.c', 'below/it/f.c', 'sub/f.c']) assert.ok(files.includes(path), files.join());
      await list({ git: true });
      source = join(source, 'below');
      await list();
      source = join(source, 'it', 'dir');
      await mkdir(source);
      await list();
      assert.equal(await wasRun(), false);
    });
  }

  it('knows what is tracked in every kind of index', async () => {
    for (const [kind, args] of Object.entries({
      split: ['update-index', '--split-index'],
      'version 4': ['update-index', '--index-version', '4'],
      untracked: ['update-index', '--force-untracked-cache'],
    })) {
      await rm(source, { recursive: true, force: true });
      await mkdir(join(source, 'target', 'deep'), { recursive: true });
      await writeFile(join(source, 'target', 'deep', 'kept'), '');
      await writeFile(join(source, 'target', 'other'), '');
      await git(source, 'init', '-q');
      await git(source, 'add', '-f', 'target/deep/kept');
      await git(source, ...args);
      assert.deepEqual(filesOf(await list()), ['target/deep/kept'], kind);
    }
    await rm(join(source, '.git'), { recursive: true });
    await git(source, 'init', '-q', '--object-format=sha256');
    await git(source, 'add', '-f', 'target/deep/kept');
    assert.deepEqual(filesOf(await list()), ['target/deep/kept']);
    // As one that is above.
    source = join(source, 'target', 'deep');
    assert.deepEqual(filesOf(await list()), ['kept']);
  });

  it('says so where an index is none', async () => {
    await git(source, 'init', '-q');
    await writeFile(join(source, 'a'), '');
    await writeFile(join(source, '.git', 'index'), 'nothing of the kind');
    const tree = await list();
    assert.deepEqual(filesOf(tree), ['a']);
    assert.match(tree.notices.join('\n'), /git failed: .*; what git tracks is not known/);
  });

  it('waits for no pipe in the place of a file of git', async () => {
    await git(source, 'init', '-q');
    await writeFile(join(source, 'a'), '');
    for (const name of ['index', 'commondir', 'config', 'objects/info/alternates', 'info/exclude']) {
      const at = join(source, '.git', name);
      await rm(at, { force: true });
      await execa('mkfifo', [at]);
      assert.deepEqual(
        filesOf(await list()).filter((path) => !path.startsWith('.git')),
        ['a'],
        name,
      );
      await list({ git: true });
      await rm(at);
      if (name === 'config') await writeFile(at, '');
    }
  });

  describe('takes along of what it points to elsewhere', () => {
    let secret: string;
    beforeEach(async () => {
      secret = directory.path('private');
      await mkdir(secret, { recursive: true });
      await git(secret, 'init', '-q');
      await writeFile(join(secret, 'key'), 'secret');
      await git(secret, 'add', '.');
      await git(secret, 'commit', '-qm', 'private');
      await writeFile(join(source, 'a'), '');
    });
    const sources = ({ entries }: Tree): string[] =>
      entries.map((entry) => entry.source?.toString() ?? '').filter((path) => path.startsWith(secret));

    it('no repository that does not name the directory', async () => {
      await writeFile(join(source, '.git'), `gitdir: ${secret}/.git\n`);
      const tree = await list({ git: true });
      assert.deepEqual(filesOf(tree), ['a']);
      assert.match(
        tree.notices.join('\n'),
        /\.git stays behind: it leads to .*private\/\.git, which does not name/,
      );
    });

    it('none by a link, or as what all work trees share', async () => {
      await symlink(`${secret}/.git`, join(source, '.git'));
      assert.deepEqual(sources(await list({ git: true })), []);
      await rm(join(source, '.git'));
      await mkdir(join(source, '.git'));
      await writeFile(join(source, '.git', 'HEAD'), 'ref: refs/heads/main\n');
      await writeFile(join(source, '.git', 'gitdir'), `${source}/.git\n`);
      await writeFile(join(source, '.git', 'commondir'), `${secret}/.git\n`);
      assert.deepEqual(sources(await list({ git: true })), []);
    });

    it('objects alone of an alternate, and says so', async () => {
      await git(source, 'init', '-q');
      const alternates = join(source, '.git', 'objects', 'info', 'alternates');
      await mkdir(dirname(alternates), { recursive: true });
      await writeFile(alternates, `${secret}\n`);
      assert.deepEqual(sources(await list({ git: true })), []);
      await writeFile(alternates, `${secret}/.git/objects\n`);
      const tree = await list({ git: true });
      assert.ok(
        sources(tree).every((path) => /objects\/[0-9a-f]{2}(?:\/[0-9a-f]{38})?$|objects\/pack$/.test(path)),
      );
      assert.match(tree.notices.join('\n'), /objects of .*private\/\.git\/objects go along/);
    });

    it('nothing by a link in the place of its settings', async () => {
      await begin(join(source, 'm'));
      await rm(join(source, 'm', '.git', 'config'));
      await symlink(join(secret, 'key'), join(source, 'm', '.git', 'config'));
      const tree = await list({ git: true });
      assert.ok(tree.entries.every(({ content }) => content === undefined || !content.includes('secret')));
    });
  });

  it('is as whole as before for one’s own', async () => {
    await begin(source);
    await list({ git: true });
    assert.match(await readFile(join(source, '.git', 'config'), 'utf8'), /repositoryformatversion/);
    assert.ok((await readdir(directory.path())).includes('source'));
  });
});
