import assert from 'node:assert/strict';
import { chmod, mkdir, mkdtemp, readFile, realpath, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { execa } from 'execa';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { leftBehindNote } from '../../src/client/upload/notes.ts';
import { packTree } from '../../src/client/upload/pack.ts';
import type { RuleOptions } from '../../src/client/upload/rules.ts';
import { listTree, type Tree } from '../../src/client/upload/tree.ts';

describe('what of a directory goes along', () => {
  let scratch: string;
  let source: string;
  beforeEach(async () => {
    scratch = await realpath(await mkdtemp(join(tmpdir(), 'fp-goes-')));
    source = join(scratch, 'source');
    await mkdir(source);
  });
  afterEach(() => rm(scratch, { recursive: true, force: true }));

  const put = async (files: Readonly<Record<string, string>>, root = source): Promise<void> => {
    for (const [path, content] of Object.entries(files)) {
      await mkdir(dirname(join(root, path)), { recursive: true });
      await writeFile(join(root, path), content);
    }
  };
  const git = (directory: string, ...args: string[]) =>
    execa('git', ['-c', 'user.name=t', '-c', 'user.email=t@t', '-c', 'protocol.file.allow=always', ...args], {
      cwd: directory,
    });
  const list = (options: Partial<RuleOptions> = {}): Promise<Tree> =>
    listTree(source, { excludes: [], ...options });
  const filesOf = ({ entries }: Tree): string[] =>
    entries.filter(({ type }) => type !== 'directory').map(({ path }) => path);
  const files = async (options: Partial<RuleOptions> = {}): Promise<string[]> => filesOf(await list(options));
  /** What a job gets of the tree. */
  const arrived = async (options: Partial<RuleOptions> = {}): Promise<string> => {
    const target = await mkdtemp(join(scratch, 'job-'));
    const tree = await list(options);
    const tar = execa('tar', ['-x', '-p', '--warning=no-unknown-keyword', '-C', target]);
    for await (const chunk of packTree(tree)) tar.stdin.write(chunk);
    tar.stdin.end();
    await tar;
    return target;
  };

  it('is what git tracks, also under the usual excludes and under what is ignored', async () => {
    await put({
      ...{ 'src/target/a.c': '', 'test/node_modules/m/x': '', 'gen/kept.h': '', '.gitignore': 'gen/\n*.o\n' },
      ...{ 'gen/other.h': '', 'a.o': '', 'target/debug/big': '', 'src/target/new': '' },
    });
    await git(source, 'init', '-q');
    await git(source, 'add', '-f', 'src/target/a.c', 'test', 'gen/kept.h', '.gitignore');
    assert.deepEqual(await files(), ['.gitignore', 'gen/kept.h', 'src/target/a.c', 'test/node_modules/m/x']);
    const note = leftBehindNote(await list()) ?? '';
    assert.match(note, /^left behind: 5 entries: /);
    for (const part of ['gen/other.h (.gitignore: gen/)', 'a.o (.gitignore: *.o)', '.git/ (usual: .git)'])
      assert.ok(note.includes(part), note);
    // Who says so leaves tracked files behind as well.
    assert.deepEqual(await files({ excludes: ['*.c', '/test/'] }), ['.gitignore', 'gen/kept.h']);
    await put({ '.flashpodsignore': 'src/\n!target/\n' });
    assert.deepEqual(await files(), [
      ...['.flashpodsignore', '.gitignore', 'gen/kept.h', 'target/debug/big', 'test/node_modules/m/x'],
    ]);
  });

  it('obeys patterns as a .gitignore does: anchored, with stars, negated, for directories, in their order', async () => {
    await put({
      ...{
        'a.log': '',
        'keep.log': '',
        'data/f': '',
        'sub/data/f': '',
        'x/data': '',
        'build/o': '',
        'src/build/o': '',
      },
      ...{ 'deep/a/b/c.tmp': '', '[a].log': '', 'b c': '' },
    });
    const without = async (...excludes: string[]): Promise<string[]> => {
      const kept = await files({ excludes });
      return (await files()).filter((path) => !kept.includes(path));
    };
    assert.deepEqual(await without('*.log', '!keep.log'), ['[a].log', 'a.log']);
    for (const own of ['/data', './data', '/data/', 'data/**', '/data/*', `${source}/data`, '/data//'])
      assert.deepEqual(await without(own), ['data/f'], own);
    assert.deepEqual(await without('data'), ['data/f', 'sub/data/f', 'x/data']);
    assert.deepEqual(await without('data/'), ['data/f', 'sub/data/f']);
    assert.deepEqual(await without('/build'), ['build/o']);
    assert.deepEqual(await without('deep/**/*.tmp'), ['deep/a/b/c.tmp']);
    assert.deepEqual(await without('\\[a].log'), ['[a].log']);
    assert.deepEqual(await without('b?c'), ['b c']);
    const { notices } = await list({ excludes: ['nothing', 'a.log,data'], includes: ['none'] });
    assert.deepEqual(notices, [
      ...['--exclude "nothing" matches nothing here', '--exclude "a.log,data" matches nothing here'],
      '--include "none" matches nothing here',
    ]);
    await assert.rejects(list({ excludes: [''] }), { code: 'invalid_arguments' });
  });

  it('obeys ignore files at any depth, with or without a repository, and brings back what is asked for', async () => {
    await put({
      ...{
        'a/.gitignore': 'dist/\n',
        'a/dist/big': '',
        'dist/kept': '',
        '.env': '',
        'b/.flashpodsignore': '*\n!keep\n',
      },
      ...{ 'b/keep': '', 'b/c/x': '', 'a/node_modules/m/i.js': '', 'a/node_modules/n/i.js': '' },
    });
    const bare = ['.env', 'a/.gitignore', 'b/keep', 'dist/kept'];
    assert.deepEqual(await files(), bare);
    await git(source, 'init', '-q');
    assert.deepEqual(await files(), bare);
    await put({ '.gitignore': '.env\n' });
    assert.deepEqual(await files({ includes: ['.env', 'a/node_modules/m/', '/a/dist/*'] }), [
      ...['.env', '.gitignore', 'a/.gitignore', 'a/dist/big', 'a/node_modules/m/i.js', 'b/keep', 'dist/kept'],
    ]);
    assert.deepEqual(
      (await files({ includes: ['node_modules'] })).filter((path) => path.includes('modules')),
      [...['a/node_modules/m/i.js', 'a/node_modules/n/i.js']],
    );
  });

  it('obeys the user’s own ignore file, where XDG_CONFIG_HOME says that it lies', async () => {
    await put({ 'mine.tmp': '', kept: '' });
    await put({ 'git/ignore': '*.tmp\n' }, join(scratch, 'config'));
    assert.deepEqual(await files({ configHome: join(scratch, 'config') }), ['kept']);
    assert.deepEqual(await files({ configHome: join(scratch, 'other') }), ['kept', 'mine.tmp']);
  });

  it('is the same list as git’s own, for a tree with rules of every kind', async () => {
    const rules = '*.log\n!keep.log\n/build/\ndoc/**/x\n\\!odd\n[ab]?\ntmp/\n!tmp/in\n# no\ntrail\\ \n';
    await put({
      ...{
        '.gitignore': rules,
        'sub/.gitignore': '!*.log\n/own\n',
        'x.log': '',
        'keep.log': '',
        'sub/y.log': '',
      },
      ...{
        'sub/own': '',
        'sub/d/own': '',
        'build/a': '',
        'sub/build/a': '',
        'doc/x': '',
        'doc/p/q/x': '',
        'doc/y': '',
      },
      ...{ '!odd': '', a1: '', b: '', 'tmp/in': '', 'trail ': '', 'sub/tmp/z': '', 'ünï/f.log': '' },
    });
    await git(source, 'init', '-q');
    await writeFile(join(source, '.git/info/exclude'), 'doc/y\n');
    const { stdout } = await git(source, 'ls-files', '-z', '--others', '--exclude-standard');
    const theirs = stdout
      .split('\0')
      .filter(Boolean)
      .map((path) => Buffer.from(path).toString('latin1'))
      .sort();
    assert.deepEqual(await files(), theirs);
  });

  it('keeps links that lead out or nowhere, names them, and reads nothing through one', async () => {
    await put({ f: '', 'd/g': 'mine' });
    await put({ g: 'another’s' }, join(scratch, 'other'));
    const links = {
      result: '/usr/bin/env',
      'd/up': '../../x',
      loop: 'loop',
      dangling: 'missing',
      fine: 'd/../f',
    };
    for (const [name, target] of Object.entries(links)) await symlink(target, join(source, name));
    const tree = await list();
    assert.deepEqual(filesOf(tree), ['d/g', 'd/up', 'dangling', 'f', 'fine', 'loop', 'result']);
    assert.deepEqual(tree.notices, [
      '2 symlinks lead out of the directory, and stay as they are: d/up -> ../../x, result -> /usr/bin/env',
      '2 symlinks lead nowhere, and stay as they are: dangling -> missing, loop -> loop',
    ]);
    // A directory becomes a link to elsewhere while the tree is sent.
    await rename(join(source, 'd'), join(source, 'e'));
    await symlink(join(scratch, 'other'), join(source, 'd'));
    const vanished: string[] = [];
    let sent = '';
    for await (const chunk of packTree(tree, { onVanished: (path) => vanished.push(path) }))
      sent += Buffer.from(chunk).toString();
    assert.ok(!sent.includes('another’s'));
    assert.deepEqual(vanished, ['d/g', 'd/up']);
  });

  it('names all that can’t be read before anything is sent, with what leaves it out', async function () {
    await put({
      ok: '',
      'secret*': '',
      'pg/data': '',
      'shut/x': '',
      "it's": '',
      'ignored/x': '',
      '.gitignore': 'ignored\n',
    });
    for (const path of ['secret*', 'pg', "it's", 'ignored']) await chmod(join(source, path), 0o000);
    await chmod(join(source, 'shut'), 0o444);
    const script = `
      import { listTree } from ${JSON.stringify(join(import.meta.dirname, '../../src/client/upload/tree.ts'))};
      if (process.getuid() === 0) { process.setgroups([]); process.setgid(65534); process.setuid(65534); }
      process.env.HOME = '/nonexistent';
      const tell = (error) => console.log(JSON.stringify({ message: error.message, advice: error.advice, excludes: error.details.exclude }));
      await listTree(process.argv[1], { excludes: [] }).catch(tell);
      const { details } = await listTree(process.argv[1], { excludes: [] }).catch((error) => error);
      const tree = await listTree(process.argv[1], { excludes: details.exclude });
      console.log(JSON.stringify(tree.entries.map(({ path }) => path)));`;
    await chmod(scratch, 0o755);
    const { stdout } = await execa(process.execPath, ['--input-type=module', '-e', script, source]);
    await chmod(join(source, 'shut'), 0o755);
    const [refused = '', rest = ''] = stdout.split('\n');
    const { message, advice } = JSON.parse(refused) as { message: string; advice: string };
    assert.match(
      message,
      /^Nothing was sent: 4 entries of .* can't be read: it's \(EACCES\), pg\/ \(EACCES\), secret\* \(EACCES\), shut\/ \(EACCES\)\.$/,
    );
    assert.ok(
      advice.includes(`--exclude '/it'\\''s' --exclude '/pg/' --exclude '/secret\\*' --exclude '/shut/'`),
      advice,
    );
    assert.deepEqual(JSON.parse(rest), ['.', '.gitignore', 'ok']);
  });

  describe('with its repository', () => {
    const status = async (directory: string): Promise<string> =>
      (await git(directory, 'status', '--porcelain', '--untracked-files=no')).stdout;
    const describeTag = async (directory: string): Promise<string> =>
      (await git(directory, 'describe', '--tags')).stdout;
    const begin = async (at: string): Promise<void> => {
      await put({ 'f.c': 'int x;\n', '.gitignore': '*.o\n' }, at);
      await git(at, 'init', '-q', '-b', 'main');
      await git(at, 'add', '.');
      await git(at, 'commit', '-qm', 'first');
      await git(at, 'tag', '-am', 'one', 'v1.2.3');
    };

    it('is as git has it', async () => {
      await begin(source);
      await put({ 'x.o': '', '.git/index.lock': '' });
      await rm(join(source, '.git/index.lock'));
      const job = await arrived({ git: true });
      assert.equal(await describeTag(job), 'v1.2.3');
      assert.equal(await status(job), '');
      await assert.rejects(readFile(join(job, 'x.o')));
    });

    it('goes along, with those of submodules, where a .gitignore ignores everything', async () => {
      const library = join(scratch, 'library');
      for (const at of [library, source]) {
        await put({ 'f.c': '', '.gitignore': '/*\n!/f.c\n!/.gitignore\n' }, at);
        await git(at, 'init', '-q', '-b', 'main');
        await git(at, 'add', '.');
        await git(at, 'commit', '-qm', 'first');
      }
      await git(source, 'submodule', '--quiet', 'add', '--force', library, 'lib');
      await git(source, 'add', '-f', '.gitmodules');
      await git(source, 'commit', '-qm', 'with a library');
      const job = await arrived({ git: true });
      for (const at of [job, join(job, 'lib')]) {
        assert.equal(await status(at), '');
        await git(at, 'fsck');
      }
      assert.match(leftBehindNote(await list()) ?? '', /\.git\/.*\(usual: \.git\)/);
      const excluded = await list({ git: true, excludes: ['/.git'] });
      assert.match(excluded.notices.join(), /no \.git goes along: a rule leaves it behind/);
    });

    it('is said to be missing where it begins above, or nowhere', async () => {
      await put({ 'sub/f': '' });
      assert.match((await list({ git: true })).notices.join(), /no \.git goes along: .* in no repository/);
      await begin(source);
      source = join(source, 'sub');
      assert.match((await list({ git: true })).notices.join(), /begins above, in .*\/source; send that one/);
      assert.deepEqual((await list()).notices, []);
    });

    it('is whole for a linked work tree of one that is sparse', async () => {
      const main = join(scratch, 'main');
      await begin(main);
      await put({ 'a/f': 'a', 'b/f': 'b' }, main);
      await git(main, 'add', '.');
      await git(main, 'commit', '-qm', 'directories');
      await rm(source, { recursive: true });
      await git(main, 'worktree', 'add', '-q', '-b', 'whole', source);
      await git(main, 'config', 'core.sparseCheckout', 'true');
      await put({ '.git/info/sparse-checkout': '/*\n!/b/\n' }, main);
      await git(main, 'read-tree', '-mu', 'HEAD');
      const job = await arrived({ git: true });
      assert.equal(await status(job), '');
      await git(job, 'checkout', '-q', 'main');
      await git(job, 'checkout', '-q', 'whole');
      assert.equal(await readFile(join(job, 'b/f'), 'utf8'), 'b');
    });

    it('is whole for a linked work tree, of a bare repository as well', async () => {
      const main = join(scratch, 'main');
      await begin(main);
      await git(scratch, 'clone', '-q', '--bare', main, 'bare.git');
      for (const from of [main, join(scratch, 'bare.git')]) {
        await rm(source, { recursive: true, force: true });
        await git(from, 'worktree', 'add', '-q', '-b', `b${from.length}`, source);
        await put({ 'new.c': 'x' });
        await git(source, 'add', 'new.c');
        const job = await arrived({ git: true });
        assert.equal(await status(job), 'A  new.c');
        assert.equal(await describeTag(job), 'v1.2.3');
        assert.equal((await git(job, 'branch', '--show-current')).stdout, `b${from.length}`);
        await git(job, 'commit', '-qm', 'second');
        await git(job, 'fsck');
      }
      assert.equal(await status(source), 'A  new.c');
    });

    it('is whole with submodules, and for one of them alone', async () => {
      const library = join(scratch, 'library');
      await begin(library);
      await begin(source);
      await git(source, 'submodule', '--quiet', 'add', library, 'lib');
      await git(source, 'commit', '-qam', 'with a library');
      const job = await arrived({ git: true });
      assert.equal(await status(job), '');
      assert.equal(await describeTag(join(job, 'lib')), 'v1.2.3');
      const top = source;
      source = join(top, 'lib');
      const alone = await arrived({ git: true });
      assert.equal(await describeTag(alone), 'v1.2.3');
      assert.equal(await status(alone), '');
      // A work tree of the whole: its submodule is a directory of its own there.
      source = join(scratch, 'tree');
      await git(top, 'worktree', 'add', '-q', '-b', 'other', source);
      await git(source, 'submodule', '--quiet', 'update', '--init');
      const other = await arrived({ git: true });
      assert.equal(await status(other), '');
      assert.equal(await describeTag(join(other, 'lib')), 'v1.2.3');
    });

    it('is whole where its objects lie with another', async () => {
      const main = join(scratch, 'main');
      await begin(main);
      await git(main, 'repack', '-qad');
      await rm(source, { recursive: true });
      await git(scratch, 'clone', '-q', '--shared', main, source);
      await put({ 'f.c': 'int y;\n' });
      await git(source, 'commit', '-qam', 'second');
      const job = await arrived({ git: true });
      await rm(main, { recursive: true });
      await git(job, 'fsck', '--full');
      assert.equal(await status(job), '');
      assert.match(await describeTag(job), /^v1\.2\.3-1-g/);
    });
  });
});
