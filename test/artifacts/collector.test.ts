import assert from 'node:assert/strict';
import { execFile, fork, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { promisify } from 'node:util';
import { after, afterEach, before, beforeEach, describe, it } from 'mocha';
import { LocalArtifactStore } from '../../src/artifacts/local-artifact-store.ts';
import type { Manifest } from '../../src/artifacts/manifest.ts';
import { FlashpodsError } from '../../src/errors.ts';
import { isoNs } from '../../src/timing/nanoseconds.ts';
import { removeTree } from '../../src/trees/remove-tree.ts';
import { eventually } from '../support/eventually.ts';
import { temporaryDirectory } from '../support/scratch.ts';
import { look, make } from '../trees/hostile.ts';

const run = promisify(execFile);
const limits = { maxFileBytes: 2 ** 30, maxTotalBytes: 2 ** 31, maxFiles: 10_000 };
/** What tests look at that are not about modes and times. */
const bytesOf = ({ artifacts }: Manifest) =>
  artifacts.map(({ name, size_bytes, sha256 }) => ({ name, size_bytes, sha256 }));
const sha256 = (bytes: string | Buffer): string => createHash('sha256').update(bytes).digest('hex');

describe('collecting artifacts', () => {
  let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
  let source: string;
  let artifactsDir: string;
  let destination: string;
  let store: LocalArtifactStore;

  beforeEach(async () => {
    directory = await temporaryDirectory();
    source = join(directory.path, 'source');
    artifactsDir = join(directory.path, 'artifacts');
    destination = join(artifactsDir, 'job_1');
    store = new LocalArtifactStore(artifactsDir);
    await mkdir(source);
  });
  afterEach(() => directory.remove());

  const collect = (changed: Partial<typeof limits> = {}, signal?: AbortSignal): Promise<Manifest> =>
    store.collect('job_1', { source, limits: { ...limits, ...changed }, signal });
  const names = async (changed: Partial<typeof limits> = {}): Promise<string[]> =>
    (await collect(changed)).artifacts.map(({ name }) => name);

  it('keeps names, directories, sizes and sums, privately', async () => {
    await make(source, "mkdir -p a/b; echo -n hello > a/b/c; : > .empty; echo x > $'new\\nline'; mkdir void");
    const manifest = await collect();
    assert.deepEqual(bytesOf(manifest), [
      { name: '.empty', size_bytes: 0, sha256: sha256('') },
      { name: 'a/b/c', size_bytes: 5, sha256: sha256('hello') },
      { name: 'new\nline', size_bytes: 2, sha256: sha256('x\n') },
      { name: 'void', size_bytes: 0, sha256: null },
    ]);
    assert.deepEqual(manifest.warnings, []);
    const kept = (await look(destination)).filter((line) => !line.includes('manifest'));
    assert.deepEqual(kept, [
      '.empty|f|600|0|',
      'a/b/c|f|600|5|',
      'a/b|d|700||',
      'a|d|700||',
      'new\nline|f|600|2|',
    ]);
    assert.equal((await stat(destination)).mode & 0o777, 0o700);
    assert.equal((await stat(artifactsDir)).mode & 0o777, 0o700);
  });

  it('says that it may not write where artifacts are kept', async () => {
    await mkdir(artifactsDir);
    await writeFile(join(source, 'a'), 'a');
    await run('mount', ['--bind', artifactsDir, artifactsDir]);
    try {
      await run('mount', ['-o', 'remount,bind,ro', artifactsDir]);
      await assert.rejects(
        collect(),
        (error) => error instanceof FlashpodsError && error.code === 'artifact_copy_permission',
      );
    } finally {
      await run('umount', [artifactsDir]);
    }
    assert.equal((await collect()).artifacts.length, 1);
  });

  it('takes an empty directory', async () => {
    const nothing = { artifacts: [], directories: [], warnings: [] };
    assert.deepEqual(await collect(), nothing);
    assert.deepEqual(await collect(), nothing);
  });

  it('keeps modes without setuid, setgid and sticky, times to the nanosecond, and directories with them', async () => {
    await make(
      source,
      `mkdir -p d/none; echo x > d/run; : > secret; chmod 4755 d/run; chmod 2750 d; chmod 1777 d/none; chmod 000 secret
       touch -d '1969-12-31 23:59:58.25Z' d/run; touch -d '2239-01-02 03:04:05.000000001Z' secret
       touch -d '2026-01-02 03:04:05.123456789Z' d/none; touch -d '2026-01-02 03:04:05.999999999Z' d`,
    );
    const { artifacts, directories, warnings } = await collect();
    const look = (all: Manifest['artifacts']): unknown[] =>
      all.map(({ name, type, mode, mtime_ns }) => [name, type, mode.toString(8), isoNs(BigInt(mtime_ns))]);
    assert.deepEqual(look(artifacts), [
      ['d/none', 'directory', '777', '2026-01-02T03:04:05.123456789Z'],
      ['d/run', 'file', '755', '1969-12-31T23:59:58.250000000Z'],
      ['secret', 'file', '0', '2239-01-02T03:04:05.000000001Z'],
    ]);
    assert.deepEqual(look(directories), [['d', 'directory', '750', '2026-01-02T03:04:05.999999999Z']]);
    assert.deepEqual(warnings, []);
  });

  it('keeps symlinks that lead nowhere outside, as they are or as plainly as can be', async () => {
    await writeFile(join(directory.path, 'secret'), 'secret');
    await make(
      source,
      `mkdir -p d/e; echo -n in > d/f; ln d/f hard
       ln -s d/f direct; ln -s direct chain; ln -s ../f d/e/up; ln -s /artifacts/d/f absolute
       ln -s ../artifacts/d/f around; ln -s d/e/../f through; ln -s e d/dirlink; ln -s d/dirlink/up via; ln -s absolute via-absolute
       ln -s ../../.. d/e/high; ln -s ../../d d/e/self; ln -s d/dirlink/../f by-link; ln -s /artifacts root; ln -s . here
       ln -s ../secret out; ln -s ${directory.path}/secret abs-out; ln -s /etc/shadow shadow
       ln -s /artifacts/../etc/shadow sneaky; ln -s d/e/../../../secret deep-out; ln -s out out-chain; ln -s abs-out abs-chain
       ln -s loop loop; ln -s ping pong; ln -s pong ping; ln -s nothing dangling; ln -s d to-directory; ln -s d/../gone/x lost
       ln -s d/f/x below-a-file; ln -s /proc/self/environ proc; ln -s "$(printf 'a/%.0s' {1..1500})" endless; ln -s x/../loop loop2
       ln -s $'bad\\xff' bytes`,
    );
    const { artifacts, warnings } = await collect();
    const links = artifacts.filter(({ type }) => type === 'symlink');
    const shown = links.map(({ name, link_target: target, leads_to: to }) => [
      name,
      target?.slice(0, 20),
      to,
    ]);
    assert.deepEqual(shown, [
      ['absolute', 'd/f', 'd/f'],
      ['around', 'd/f', 'd/f'],
      ['below-a-file', 'd/f/x', null],
      ['by-link', 'd/f', 'd/f'],
      ['chain', 'direct', 'd/f'],
      ['d/dirlink', 'e', null],
      ['d/e/self', '../../d', null],
      ['d/e/up', '../f', 'd/f'],
      ['dangling', 'nothing', null],
      ['direct', 'd/f', 'd/f'],
      ['endless', 'a/a/a/a/a/a/a/a/a/a/', null],
      ['here', '.', null],
      ['loop', 'loop', null],
      ['loop2', 'loop', null],
      ['lost', 'gone/x', null],
      ['ping', 'pong', null],
      ['pong', 'ping', null],
      ['root', '.', null],
      ['through', 'd/f', 'd/f'],
      ['to-directory', 'd', null],
      ['via', 'd/dirlink/up', 'd/f'],
      ['via-absolute', 'absolute', 'd/f'],
    ]);
    for (const { leads_to: to, size_bytes: size, sha256: sum } of links)
      assert.deepEqual([size, sum], to === null ? [0, null] : [2, sha256('in')]);
    const reasons = warnings.map((warning) =>
      /^"([^"]*)" was left out: a symlink (.*)$/.exec(warning)?.slice(1),
    );
    assert.deepEqual(reasons, [
      ['abs-chain', 'that leads out of /artifacts'],
      ['abs-out', 'that leads out of /artifacts'],
      ['bytes', 'whose target is not UTF-8'],
      ['d/e/high', 'that leads out of /artifacts'],
      ['deep-out', 'that leads out of /artifacts'],
      ['out', 'that leads out of /artifacts'],
      ['out-chain', 'that leads out of /artifacts'],
      ['proc', 'that leads out of /artifacts'],
      ['shadow', 'that leads out of /artifacts'],
      ['sneaky', 'that leads out of /artifacts'],
    ]);
    assert.ok((await look(destination)).every((line) => !line.includes('|l|')));
  });

  it('follows as many symlinks in a row as the kernel', async () => {
    await make(source, 'echo x > l0; for ((i = 1; i <= 45; i++)); do ln -s l$((i - 1)) l$i; done');
    const readable = await make(source, 'for i in l*; do if cat $i > /dev/null 2>&1; then echo $i; fi; done');
    const { artifacts } = await collect();
    const found = artifacts.filter(({ sha256: sum }) => sum !== null).map(({ name }) => name);
    assert.deepEqual(found.sort(), readable.trim().split('\n').sort());
    assert.equal(artifacts.length, 46);
  });

  it('is soon done with links that go a long way', async () => {
    await make(
      source,
      `p=$(printf 'a/%.0s' {1..60}); mkdir -p $p
       perl -e 'symlink "a/../" x 800 . $_, "l$_" for 1..3000'; echo x > a/x`,
    );
    const began = performance.now();
    const { artifacts, warnings } = await collect();
    assert.ok(performance.now() - began < 60_000);
    assert.ok(artifacts.some(({ name }) => name === 'a/x'));
    assert.ok(warnings.some((warning) => warning.includes('beyond those that could be followed')));
  });

  it('leaves out what is no file, without waiting for it', async () => {
    await make(
      source,
      `mkfifo fifo; mknod null c 1 3; mknod zero c 1 5; mknod disk b 254 0; ln -s fifo to-fifo; ln -s zero to-zero
       perl -MIO::Socket::UNIX -e 'IO::Socket::UNIX->new(Local => "socket", Listen => 1)'; echo ok > ok`,
    );
    const { artifacts, warnings } = await collect();
    assert.deepEqual(
      artifacts.map(({ name }) => name),
      ['ok'],
    );
    assert.deepEqual(
      warnings.map((warning) => warning.split('"')[1]),
      ['disk', 'fifo', 'null', 'socket', 'to-fifo', 'to-zero', 'zero'],
    );
  });

  it('leaves out names that no artifact can have', async () => {
    await make(
      source,
      "echo 1 > $'bad\\xff'; echo 2 > 'back\\slash'; echo 3 > ' space'; mkdir $'d\\x80'; echo 4 > $'d\\x80/x'; echo ok > ok",
    );
    const { artifacts, warnings } = await collect();
    assert.deepEqual(
      artifacts.map(({ name }) => name),
      ['ok'],
    );
    assert.equal(warnings.length, 4);
    assert.ok(warnings.every((warning) => /its name (is not UTF-8|has a)/.test(warning)));
  });

  it('keeps to its limits in the order of names, and keeps the rest', async () => {
    await make(
      source,
      'for i in a b c d e; do head -c 100 /dev/zero > $i; done; head -c 150 /dev/zero > bb; echo s > f',
    );
    assert.deepEqual(await names({ maxFiles: 3 }), ['a', 'b', 'bb']);
    await store.delete('job_1');
    assert.deepEqual(await names({ maxFileBytes: 149 }), ['a', 'b', 'c', 'd', 'e', 'f']);
    await store.delete('job_1');
    const { artifacts, warnings } = await collect({ maxTotalBytes: 202 });
    assert.deepEqual(
      artifacts.map(({ name }) => name),
      ['a', 'b', 'f'],
    );
    assert.deepEqual(
      warnings.map((warning) => warning.split('"')[1]),
      ['bb', 'c', 'd', 'e'],
    );
  });

  it('bounds what 10,000 files, links and deep directories can make it do and say', async () => {
    await make(
      source,
      `for ((i = 0; i < 10000; i++)); do : > f$i; done
       perl -e 'symlink "nowhere", "l$_" for 0..1999'; perl -e 'symlink "/etc", "e$_" for 0..99'
       d=.; for ((i = 0; i < 300; i++)); do d=$d/d; done; mkdir -p $d; echo x > $d/x`,
    );
    const { artifacts, warnings } = await collect({ maxFiles: 200 });
    assert.equal(artifacts.length, 200);
    assert.ok(warnings.length <= 60 && warnings.length > 50, `${warnings.length} warnings`);
    assert.ok(warnings.some((warning) => warning.includes('11801 more files')));
    assert.ok(warnings.some((warning) => warning.includes('more than 64 directories deep')));
    assert.ok(warnings.every((warning) => warning.length < 400));
  });

  it('keeps names as long as a file system takes them', async () => {
    const longest = 'n'.repeat(255);
    await make(source, `mkdir ${longest}; echo x > ${longest}/${longest}; mkfifo ${longest}/f`);
    const { artifacts, warnings } = await collect();
    assert.deepEqual(
      artifacts.map(({ name }) => name),
      [`${longest}/${longest}`],
    );
    assert.equal(warnings.length, 1);
    assert.ok((warnings[0]?.length ?? Infinity) < 260, warnings[0]);
    assert.equal(await readFile(join(destination, longest, longest), 'utf8'), 'x\n');
  });

  /** A script that goes on changing the source until `work` is done. */
  const whileChanging = async (perl: string, work: () => Promise<void>): Promise<void> => {
    const child = spawn('perl', ['-e', `$| = 1; print "go\n"; while (1) { ${perl} }`], { cwd: source });
    const exited = once(child, 'exit');
    try {
      await once(child.stdout, 'data');
      await work();
    } finally {
      child.kill('SIGKILL');
      await exited;
    }
  };

  it('ends although a file grows all the time, and records what it has stored', async () => {
    await make(source, 'head -c 4000000 /dev/urandom > grows; echo x > z');
    const grow = 'open F, ">>grows"; print F "x" x 100000; close F; select undef, undef, undef, 0.0005';
    await whileChanging(grow, async () => {
      // On a busy machine the writer may not get a turn while the file is read.
      await eventually('it was written to meanwhile', async () => {
        await removeTree(destination);
        const { artifacts, warnings } = await collect();
        assert.deepEqual(
          artifacts.map(({ name }) => name),
          ['grows', 'z'],
        );
        const stored = await readFile(join(destination, 'grows'));
        assert.ok((await stat(join(source, 'grows'))).size >= stored.length);
        assert.equal(artifacts[0]?.size_bytes, stored.length);
        assert.equal(artifacts[0].sha256, sha256(stored));
        return /^"grows" was written to while it was collected/.test(warnings.join('\n'));
      });
    });
  });

  /** Collects again and again while the script runs: each time all is `fine`, or the collection is refused. */
  const collectWhile = async (perl: string): Promise<void> => {
    await make(directory.path, 'mkdir secret; echo SECRET > secret/f; echo SECRET > secret/g');
    let kept = 0;
    await whileChanging(perl, async () => {
      const deadline = performance.now() + 2_500;
      while (performance.now() < deadline) {
        try {
          for (const { name, type } of (await collect()).artifacts) {
            if (type !== 'file') continue;
            assert.equal(await readFile(join(destination, name), 'utf8'), 'fine\n', name);
            kept++;
          }
        } catch (error) {
          if (!(error instanceof FlashpodsError)) throw error;
        }
        await store.delete('job_1');
      }
    });
    assert.ok(kept > 0);
    assert.deepEqual(await look(join(directory.path, 'secret')), ['f|f|644|7|', 'g|f|644|7|']);
  };

  it('reads nothing outside while directories become symlinks under its hands', async () => {
    await make(
      source,
      'mkdir d; echo fine > d/f; echo fine > d/g; for i in {1..9}; do echo fine > d/f$i; done',
    );
    const pause = (seconds: number): string => `select undef, undef, undef, ${seconds};`;
    await collectWhile(
      `rename "d", "x"; symlink "../secret", "d"; ${pause(0.002)} unlink "d"; rename "x", "d"; ${pause(0.02)}`,
    );
  });

  it('reads nothing outside and waits for nothing while files become symlinks and FIFOs under its hands', async () => {
    await make(directory.path, 'echo fine > 0; ln -s ../secret/f 1; mkfifo 2');
    await make(source, 'for i in {1..20}; do echo fine > f$i; done');
    // Replaced at one blow, so that every name leads somewhere at any moment.
    await collectWhile(
      'for $n (1..20) { for $i (1, 0, 2, 0) { link "../$i", "../t"; rename "../t", "f$n" } }',
    );
  });

  it('copies a sparse file of 1 GB without taking the disk for it', async () => {
    await make(
      source,
      'truncate -s 1G sparse; printf end | dd of=sparse bs=1 seek=5000000 conv=notrunc status=none',
    );
    const { artifacts } = await collect();
    const expected = (await make(destination, 'sha256sum sparse')).split(' ')[0];
    assert.deepEqual([artifacts[0]?.size_bytes, artifacts[0]?.sha256], [2 ** 30, expected]);
    const { size, blocks } = await stat(join(destination, 'sparse'));
    assert.equal(size, 2 ** 30);
    assert.ok(blocks * 512 < 2 ** 20);
    assert.equal(await make(destination, 'tail -c +5000001 sparse | head -c 3'), 'end');
  });

  it('answers what was collected once it is complete, even when the source is gone', async () => {
    await make(source, 'echo one > one; mkfifo fifo');
    const first = await collect();
    await rm(source, { recursive: true });
    assert.deepEqual(await collect(), first);
  });

  it('begins anew after a kill in the middle', async () => {
    await make(source, 'for i in 1 2 3 4 5 6; do head -c 30000000 /dev/urandom > f$i; done');
    const child = fork(join(import.meta.dirname, 'fixtures', 'collect.ts'), [source, destination]);
    const exited = once(child, 'exit');
    await eventually(
      'something is copied',
      async () => (await readdir(join(artifactsDir, '.job_1.partial'))).length > 1,
      {
        everyMs: 1,
      },
    );
    child.kill('SIGKILL');
    await exited;
    assert.deepEqual(await readdir(artifactsDir), ['.job_1.partial']);
    const { artifacts } = await collect();
    assert.equal(artifacts.length, 6);
    for (const { name, sha256: sum } of artifacts) {
      assert.equal(sha256(await readFile(join(destination, name))), sum);
    }
    assert.deepEqual(await readdir(artifactsDir), ['job_1']);
  });

  it('gives two that collect at once the same, in one process and in two', async () => {
    await make(source, 'head -c 12000000 /dev/urandom | split -b 300000 -a 3');
    const rivals = [1, 2].map(() =>
      fork(join(import.meta.dirname, 'fixtures', 'collect.ts'), [source, destination]),
    );
    const ends = rivals.map((rival) => once(rival, 'exit'));
    const [one, other] = await Promise.all([collect(), collect()]);
    assert.deepEqual(one, other);
    assert.deepEqual(
      (await Promise.all(ends)).map(([code]) => code as number),
      [0, 0],
    );
    assert.deepEqual(await collect(), one);
    for (const { name, sha256: sum } of one.artifacts)
      assert.equal(sha256(await readFile(join(destination, name))), sum);
    assert.deepEqual(await readdir(artifactsDir), ['job_1']);
  });

  describe('what of /work is asked for', () => {
    let work: string;
    const collectWork = (...patterns: string[]): Promise<Manifest> =>
      store.collect('job_1', { source, limits, work: { source: work, patterns } });
    const kept = ({ artifacts }: Manifest): string[] => artifacts.map(({ name }) => name);

    beforeEach(async () => {
      work = join(directory.path, 'work');
      await mkdir(work);
    });

    it('is named by its path there, with modes, empty directories and links; hidden files match, too', async () => {
      await make(
        work,
        `mkdir -p build/.deps build/void src/.hid x; echo app > build/app; chmod 755 build/app; echo 1 > build/.deps/d
         ln -s app build/latest; echo a > src/a.xml; echo b > src/.hid/b.xml; echo c > c.xml; echo no > src/no; echo y > x/y`,
      );
      const manifest = await collectWork('build', '**/*.xml', 'none/**', 'x/?.txt');
      assert.deepEqual(kept(manifest), [
        'build/.deps/d',
        'build/app',
        'build/latest',
        'build/void',
        'c.xml',
        'src/.hid/b.xml',
        'src/a.xml',
      ]);
      assert.equal(manifest.artifacts[1]?.mode, 0o755);
      assert.equal(manifest.artifacts[2]?.link_target, 'app');
      const parents = manifest.directories.map(({ name }) => name);
      assert.deepEqual(parents, ['build', 'build/.deps', 'src', 'src/.hid']);
      assert.deepEqual(manifest.warnings, [
        'nothing in /work matches "none/**"',
        'nothing in /work matches "x/?.txt"',
      ]);
    });

    it('gives way to anything that /artifacts has, with a warning', async () => {
      await make(
        source,
        'mkdir file-here; echo A > file-here/in; echo A > same; echo A > dir-there; ln -s same link; mkdir both; : > both/a',
      );
      await make(
        work,
        'echo W > file-here; echo W > same; mkdir dir-there link both; echo W > dir-there/x; echo W > link/x; : > both/w; : > mine',
      );
      const manifest = await collectWork('**');
      assert.deepEqual(kept(manifest), [
        'both/a',
        'both/w',
        'dir-there',
        'file-here/in',
        'link',
        'mine',
        'same',
      ]);
      assert.equal(await readFile(join(destination, 'same'), 'utf8'), 'A\n');
      const lost = manifest.warnings.map(
        (line) => /^"([^"]*)" was left out: it lies in \/work/.exec(line)?.[1],
      );
      assert.deepEqual(lost, ['dir-there', 'dir-there/x', 'file-here', 'link', 'link/x', 'same']);
    });

    it('has the file in the place of a link to one that is not asked for, and leads nowhere outside', async () => {
      await make(directory.path, 'echo SECRET > secret; mkdir secrets; echo SECRET > secrets/app');
      await make(
        work,
        `mkdir -p out/1.2 lib; echo app > out/1.2/app; chmod 755 out/1.2/app; ln -s 1.2/app out/app; ln -s /work/out/1.2/app abs
         ln -s ../../secret lib/out; ln -s /etc/passwd lib/passwd; ln -s ${directory.path}/secrets dir; ln -s ../../artifacts lib/artifacts
         ln -s out/1.2 lib2; ln -s gone lib/gone`,
      );
      const manifest = await collectWork('out/app', 'abs', 'lib', 'dir/app', 'dir/**', 'lib2');
      assert.deepEqual(
        manifest.artifacts.map(({ name, type, mode }) => [name, type, mode]),
        [
          ['abs', 'file', 0o755],
          ['lib/gone', 'symlink', 0o777],
          ['out/app', 'file', 0o755],
        ],
      );
      assert.equal(await readFile(join(destination, 'out/app'), 'utf8'), 'app\n');
      assert.ok(
        manifest.warnings.some((line) =>
          line.startsWith('"lib/passwd" was left out: a symlink that leads out of /work'),
        ),
      );
      assert.ok(
        manifest.warnings.some((line) => line.startsWith('"lib2" was left out: a symlink to a directory')),
      );
      assert.equal(await make('/', `grep -rl SECRET ${artifactsDir} || true`), '');
    });

    it('stays out of what is mounted there', async () => {
      await make(work, 'mkdir mounted; mount -t tmpfs tmpfs mounted; echo SECRET > mounted/f; echo ok > ok');
      try {
        const manifest = await collectWork('**');
        assert.deepEqual(kept(manifest), ['ok']);
        assert.deepEqual(manifest.warnings, ['"mounted" was left out: another file system is mounted there']);
      } finally {
        await make(work, 'umount mounted');
      }
    });

    it('is nothing, with a warning, when /work is no directory any more', async () => {
      await make(source, 'echo x > x');
      await make(directory.path, 'rmdir work; ln -s /etc work');
      const manifest = await collectWork('**');
      assert.deepEqual(kept(manifest), ['x']);
      assert.match(manifest.warnings[0] ?? '', /^nothing was collected from \/work/);
    });
  });

  it('leaves nothing behind when it is aborted', async () => {
    await make(source, 'head -c 1000000 /dev/zero > f');
    await assert.rejects(collect({}, AbortSignal.abort(new Error('detached'))), /detached/);
    assert.deepEqual(await readdir(artifactsDir), []);
  });

  it('tells a source that is gone, or is no directory', async () => {
    await rm(source, { recursive: true });
    await assert.rejects(collect(), { code: 'artifact_copy_container_gone' });
    await make(directory.path, 'ln -s /etc source');
    await assert.rejects(
      collect(),
      (error) => error instanceof FlashpodsError && error.code === 'artifact_copy_failed',
    );
  });

  describe('onto a full disk', () => {
    let mount: string;

    before(async () => {
      const { path } = await temporaryDirectory();
      mount = path;
      await make(mount, `mount -t tmpfs -o size=1m tmpfs ${mount}`);
    });
    after(() => make('/', `umount -l ${mount}; rmdir ${mount}`));

    it('fails with the code for it, and leaves nothing behind', async () => {
      await make(source, 'head -c 3000000 /dev/urandom > f');
      await assert.rejects(new LocalArtifactStore(mount).collect('job_1', { source, limits }), {
        code: 'artifact_copy_disk_full',
      });
      assert.deepEqual(await readdir(mount), []);
    });
  });

  it('opens what is stored, and nothing else', async () => {
    await make(source, 'mkdir a; echo -n hello > a/b');
    await collect();
    await make(destination, 'ln -s /etc/passwd link; ln -s /etc dir');
    const opened = await store.open('job_1', 'a/b');
    assert.equal(opened?.sizeBytes, 5);
    assert.equal(await text(opened.read()), 'hello');
    const part = await store.open('job_1', 'a/b');
    assert.ok(part);
    assert.equal(await text(part.read({ first: 1, last: 3 })), 'ell');
    for (const name of ['a', 'none', 'a/b/c', 'link', 'dir/passwd']) {
      assert.equal(await store.open('job_1', name), null, name);
    }
    assert.equal(await store.open('job_2', 'a'), null);
    await assert.rejects(store.open('job_1', '../job_1/a/b'), {
      code: 'invalid_artifact_name',
    });
    await assert.rejects(store.open('..', 'a'), /not a job id/);
    await store.delete('job_1');
    await store.delete('job_1');
    assert.deepEqual(await readdir(artifactsDir), []);
  });
});
