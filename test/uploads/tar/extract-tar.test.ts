import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { lstat, mkdir, readFile, readdir, readlink, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { promisify } from 'node:util';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { FlashpodsError } from '../../../src/errors.ts';
import { extractTar } from '../../../src/uploads/tar/extract-tar.ts';
import type { Extracted } from '../../../src/uploads/tar/extraction.ts';
import { removeTree } from '../../../src/trees/remove-tree.ts';
import { eventually } from '../../support/eventually.ts';
import { temporaryDirectory } from '../../support/scratch.ts';
import { look, make } from '../../trees/hostile.ts';
import { TAR_END, paxEntry, rawEntry, rawTar } from './raw-tar.ts';
import type { RawEntry } from './raw-tar.ts';

const run = promisify(execFile);
const limits = { maxBytes: 2 ** 30 };

describe('unpacking a tar', () => {
  let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
  let source: string;
  let destination: string;

  beforeEach(async () => {
    directory = await temporaryDirectory();
    source = join(directory.path, 'source');
    destination = join(directory.path, 'tree');
    await mkdir(source);
    await mkdir(destination);
    await writeFile(join(directory.path, 'outside'), 'untouched');
  });
  afterEach(async () => {
    assert.equal(await readFile(join(directory.path, 'outside'), 'utf8'), 'untouched');
    await directory.remove();
  });

  const unpack = (tar: Buffer, changed: { maxBytes?: number; maxFiles?: number } = {}): Promise<Extracted> =>
    extractTar(Readable.from([tar]), destination, { ...limits, ...changed });
  const refuses = async (message: RegExp, ...entries: readonly RawEntry[]): Promise<void> => {
    await assert.rejects(unpack(rawTar(...entries)), (error) => {
      assert.ok(error instanceof FlashpodsError, String(error));
      assert.equal(error.code, 'invalid_request');
      assert.match(error.message, message);
      return true;
    });
  };

  for (const format of ['gnu', 'posix', 'ustar']) {
    it(`makes the same tree as was packed by GNU tar as ${format}`, async () => {
      await make(
        source,
        `mkdir -p a/b 'empty dir' closed; echo -n hello > a/b/c; ln a/b/c a/hard; ln -s b/c a/soft; ln -s nowhere dangling
         ln -s ../../a a/b/up; echo x > $'new\\nline'; echo u > 日本語; chmod 755 a/b/c; : > zero; echo ro > closed/f
         chmod 4755 zero; chmod 444 closed/f; chmod 555 closed; touch -d '2001-02-03 04:05:06' a/b a/b/c`,
      );
      if (format !== 'ustar')
        await make(source, 'echo l > $(printf %0255d 1); d=$(printf %0200d 2); mkdir $d; echo > $d/$d');
      if (format === 'gnu') await make(source, "echo 1 > $'bad\\xff'; echo 2 > $'bad\\xfe'");
      const { stdout } = await run('tar', [`--format=${format}`, '-cf', '-', '.'], {
        cwd: source,
        encoding: 'buffer',
        maxBuffer: 1e8,
      });
      const { files, bytes } = await unpack(stdout);
      await make(source, 'chmod 755 zero');
      const expected = await look(source);
      assert.deepEqual(await look(destination), expected);
      await run('diff', ['-r', '--no-dereference', source, destination]);
      assert.equal(files, expected.filter((line) => !line.includes('|d|')).length);
      assert.ok(bytes > 0);
      const [one, other] = [await stat(join(destination, 'a/b/c')), await stat(join(destination, 'a/hard'))];
      assert.equal(one.ino, other.ino);
      assert.equal(one.mtime.getFullYear(), 2001);
      assert.equal((await stat(join(destination, 'a/b'))).mtime.getFullYear(), 2001);
    });
  }

  it('refuses names that leave the tree', async () => {
    await refuses(/"\.\.\/outside".*segment "\.\."/, { name: '../outside', content: 'x' });
    await refuses(/segment "\.\."/, { name: 'a/../../outside', content: 'x' });
    await refuses(/absolute/, { name: join(directory.path, 'outside'), content: 'x' });
    await refuses(/not a directory/, { name: './', type: '7' });
    assert.deepEqual(await look(destination), []);
  });

  it('keeps symlinks wherever they lead, and refuses hard links that leave the tree', async () => {
    const targets = ['/etc/passwd', '../outside', '../../../outside', 'l', 'nowhere', '\xff'];
    for (const link of targets) {
      await unpack(rawTar({ name: 'l', type: '2', link: Buffer.from(link, 'latin1') }));
      assert.equal(await readlink(join(destination, 'l'), { encoding: 'latin1' }), link);
    }
    await refuses(/without a target/, { name: 'l', type: '2', link: '' });
    await refuses(/segment "\.\."/, { name: 'h', type: '1', link: '../outside' });
    await refuses(/absolute/, { name: 'h', type: '1', link: join(directory.path, 'outside') });
    await refuses(/not there/, { name: 'h', type: '1', link: 'nothing' });
    await refuses(/not a regular file/, { name: 'd', type: '5' }, { name: 'h', type: '1', link: 'd' });
  });

  it('sets times to the nanosecond, before the epoch and after 2038, of links and of the top directory', async () => {
    const times = [
      '1700000000.123456789',
      '-1.5',
      '-0.000000001',
      '0',
      '5000000000.000000001',
      '15032385534.9',
    ];
    const entries = times.flatMap((mtime, index) => [
      paxEntry({ mtime }),
      rawEntry({ name: `f${index}`, type: index === 1 ? '2' : index === 2 ? '5' : '0', link: 'x' }),
    ]);
    const top = [paxEntry({ mtime: '12345.000000678' }), rawEntry({ name: './', type: '5', mode: 0o751 })];
    await unpack(Buffer.concat([...top, ...entries, TAR_END]));
    const shown = await make(destination, 'for f in . f*; do stat -c %.9Y $f; done');
    assert.deepEqual(shown.trim().split('\n'), [
      '12345.000000678',
      ...['1700000000.123456789', '-1.500000000', '-0.000000001', '0.000000000'],
      ...['5000000000.000000001', '15032385534.900000000'],
    ]);
    assert.equal((await stat(destination)).mode & 0o777, 0o751);
  });

  it('refuses to write through a symlink, made by the same tar or before', async () => {
    for (const before of ['', 'ln -s .. away', 'ln -s / away']) {
      await make(destination, `rm -rf *; mkdir inside; ${before}`);
      const link = before === '' ? [{ name: 'away', type: '2', link: 'inside' }] : [];
      await refuses(/"away\/outside": something else is in its way/, ...link, {
        name: 'away/outside',
        content: 'x',
      });
      await refuses(/in its way/, { name: 'away/sub', type: '5' });
      await refuses(/in its way/, { name: 'away/l', type: '2', link: 'x' });
      await refuses(/in its way/, { name: 'h', type: '1', link: 'away/outside' });
    }
  });

  it('replaces a symlink by what comes under its name, and never writes into what is there', async () => {
    await make(
      destination,
      'ln -s ../outside l; ln ../outside hard; ln -s .. d; mkdir full; : > full/f; mkdir empty',
    );
    await unpack(
      rawTar({ name: 'l', content: 'new' }, { name: 'hard', content: 'new' }, { name: 'd', type: '5' }),
    );
    assert.deepEqual(await look(destination), [
      'd|d|644||',
      'empty|d|755||',
      'full/f|f|644|0|',
      'full|d|755||',
      'hard|f|644|3|',
      'l|f|644|3|',
    ]);
    await unpack(rawTar({ name: 'empty', content: 'now a file' }));
    await refuses(/in its way/, { name: 'full', content: 'x' });
  });

  it('refuses devices, FIFOs and what it does not know', async () => {
    await refuses(/"dev".*character-device is not taken/, { name: 'dev', type: '3' });
    await refuses(/block-device/, { name: 'dev', type: '4' });
    await refuses(/fifo/, { name: 'fifo', type: '6' });
    await refuses(/something unknown/, { name: 'what', type: 'S' });
    assert.deepEqual(await look(destination), []);
  });

  it('refuses names that no file system takes, and trees that are too deep', async () => {
    const named = (path: string): Buffer => Buffer.concat([paxEntry({ path }), rawTar({ name: 'short' })]);
    await assert.rejects(unpack(named('x'.repeat(256))), /more than 255 bytes/);
    await assert.rejects(unpack(named('x/'.repeat(2500))), /longer than 4000 bytes/);
    await assert.rejects(unpack(named('x/'.repeat(101))), /100 directories deep/);
    await assert.rejects(unpack(named('a\ufffdb')), /not UTF-8/);
    await assert.rejects(unpack(named('a/\0/b')), /has a NUL/);
    assert.deepEqual(await look(destination), []);
  });

  it('keeps to its limits', async () => {
    const over = { code: 'insufficient_storage' };
    const [five, six] = [
      { name: 'five', content: 'xxxxx' },
      { name: 'six', content: 'xxxxxx' },
    ];
    await assert.rejects(unpack(rawTar(five, six), { maxBytes: 10 }), over);
    assert.deepEqual(await unpack(rawTar(five, six), { maxBytes: 11 }), { files: 2, bytes: 11 });
    await assert.rejects(unpack(rawTar(five, six, { name: 'd', type: '5' }), { maxFiles: 2 }), over);
    await assert.rejects(unpack(rawTar({ name: 'big', size: 2 ** 31 }), { maxBytes: 10 }), over);
  });

  it('counts names through all streams of a tree, and their bytes before they lie in memory', async () => {
    const spent = { entries: 10, nameBytes: 64 * 2 ** 20 - 100_000 };
    const deep = `${'d/'.repeat(95)}${'n'.repeat(200)}`;
    const named = (index: number): Buffer =>
      Buffer.concat([paxEntry({ path: `${deep}/${index}` }), rawEntry({ name: 'short', type: '5' })]);
    const tar = Buffer.concat([...Array.from({ length: 400 }, (_, index) => named(index)), TAR_END]);
    assert.equal((await extractTar(Readable.from([tar]), destination, limits)).bytes, 0);
    await assert.rejects(extractTar(Readable.from([tar]), destination, { ...limits, spent }), {
      code: 'insufficient_storage',
      message: /64 MiB of names/,
    });
    const links = Array.from({ length: 400 }, (_, index) =>
      Buffer.concat([paxEntry({ linkpath: 'l'.repeat(3_000) }), rawEntry({ name: `l${index}`, type: '2' })]),
    );
    await assert.rejects(
      extractTar(Readable.from([...links, TAR_END]), destination, { ...limits, spent }),
      /64 MiB of names/,
    );
    const entries = { ...spent, entries: 499_990, nameBytes: 0 };
    const some = rawTar(...Array.from({ length: 11 }, (_, index) => ({ name: `e${index}` })));
    await assert.rejects(extractTar(Readable.from([some]), destination, { ...limits, spent: entries }), {
      code: 'insufficient_storage',
    });
  });

  it('weighs an entry 4 KiB at least', async () => {
    const some = rawTar(...Array.from({ length: 5 }, (_, index) => ({ name: `d${index}`, type: '5' })));
    const weighed = (maxWeight: number): Promise<Extracted> =>
      extractTar(Readable.from([some]), destination, { ...limits, maxWeight });
    await assert.rejects(weighed(5 * 4096 - 1), { code: 'insufficient_storage' });
    assert.equal((await weighed(5 * 4096)).bytes, 0);
  });

  it('refuses headers that are made to cost much: large, many, with very many fields, for all that follows', async () => {
    const global = (fields: Record<string, string>): Buffer => {
      const header = paxEntry(fields);
      header.write('g', 156);
      header.fill(' ', 148, 156);
      const sum = header.subarray(0, 512).reduce((total, byte) => total + byte, 0);
      header.write(`${sum.toString(8).padStart(6, '0')}\0`, 148);
      return header;
    };
    const fields = (count: number): Record<string, string> =>
      Object.fromEntries(Array.from({ length: count }, (_, index) => [`k${index}`, 'v']));
    const whole = rawTar({ name: 'a', content: 'x' });
    const refused: readonly (readonly [Buffer, RegExp])[] = [
      [global(fields(65)), /more than 64 fields/],
      [global(fields(50_000)), /more than 64 KiB/],
      [paxEntry(fields(1_001)), /more than 1000 fields/],
      [paxEntry({ k: 'v'.repeat(65 * 1024) }), /more than 64 KiB/],
      [rawEntry({ name: 'l', type: 'L', content: 'n'.repeat(65 * 1024) }), /more than 64 KiB/],
      [Buffer.concat(Array.from({ length: 9 }, () => paxEntry({ k: 'v' }))), /headers without an entry/],
      [rawEntry({ name: 'x', type: 'x', content: '99 k=v\n' }), /broken pax header/],
      [paxEntry({ size: 'abc' }), /without a size/],
      [paxEntry({ size: '-1' }), /without a size/],
    ];
    for (const [header, message] of refused) {
      await assert.rejects(unpack(Buffer.concat([header, whole])), { code: 'invalid_request', message });
    }
    // What `git archive` writes.
    const archive = Buffer.concat([global({ comment: '0'.repeat(40) }), whole]);
    assert.deepEqual(await unpack(archive), { files: 1, bytes: 1 });
    // The size of a directory buys no room for what is not in it.
    const entry = rawEntry({ name: 'd', type: '5', size: 8 ** 11 - 1 });
    const pieces = Array.from({ length: 40 }, () => Buffer.alloc(2 ** 19));
    const endless = Readable.from([entry, ...pieces, whole]);
    await assert.rejects(extractTar(endless, destination, limits), /much longer/);
  });

  it('refuses what is no whole tar, wherever it is cut, and leaves no half file', async () => {
    const whole = rawTar({ name: 'a', content: 'x'.repeat(2000) }, { name: 'b', content: 'y'.repeat(600) });
    for (let cut = 0; cut < whole.length; cut += 256) {
      await make(destination, 'rm -rf *');
      await assert.rejects(unpack(whole.subarray(0, cut)), { code: 'invalid_request' }, `cut at ${cut}`);
      for (const line of await look(destination)) assert.match(line, /^a\|f\|644\|2000\||^b\|f\|644\|600\|/);
    }
    await assert.rejects(unpack(Buffer.from('no tar at all'.repeat(100))), /not a whole tar/);
    await assert.rejects(
      unpack(Buffer.concat([rawEntry({ name: 'a', type: 'x', size: 2 ** 30 }), TAR_END])),
      /not a whole tar/,
    );
  });

  it('fails with what the stream failed with, or the reason of the signal', async () => {
    const broken = new PassThrough();
    const failing = extractTar(broken, destination, limits);
    broken.write(rawEntry({ name: 'whole', content: 'x' }));
    broken.write(rawEntry({ name: 'half', content: 'x'.repeat(1e6) }).subarray(0, 5000));
    await eventually('the file is begun', async () => (await look(destination)).length === 2);
    broken.destroy(new Error('client gone'));
    await assert.rejects(failing, /client gone/);
    assert.deepEqual(await look(destination), ['whole|f|644|1|']);

    const stop = new AbortController();
    const stopped = extractTar(new PassThrough(), destination, limits, stop.signal);
    stop.abort(new Error('finalized'));
    await assert.rejects(stopped, /finalized/);
  });

  it('writes nothing outside while somebody swaps directories for symlinks', async () => {
    const swapping = spawn('bash', [
      '-c',
      'cd "$1"; while :; do mkdir -p a 2>/dev/null; rm -rf a; ln -s .. a; rm -f a; done',
      'swap',
      destination,
    ]);
    try {
      for (let i = 0; i < 150; i++) {
        const tar = rawTar({ name: 'a/outside', content: 'x' }, { name: 'a/b/new', content: 'x' });
        await unpack(tar).catch(() => undefined);
      }
    } finally {
      const gone = new Promise((resolve) => swapping.on('exit', resolve));
      swapping.kill('SIGKILL');
      await gone;
    }
    assert.deepEqual((await run('ls', [directory.path])).stdout.split('\n'), [
      'outside',
      'source',
      'tree',
      '',
    ]);
  });

  it('holds against tars of any kind', async () => {
    const sane = fc.record({
      name: fc.constantFrom('a', 'a/b', 'b', 'b/a'),
      type: fc.constantFrom('0', '1', '2', '5'),
      link: fc.constantFrom('a', 'b', 'a/b', 'a/../b'),
      mode: fc.constantFrom(0, 0o755),
      content: fc.constant('x'),
    });
    const name = fc.constantFrom(
      'a',
      'a/b',
      './a',
      'a/',
      '..',
      'a/../..',
      '/a',
      'b',
      'b/a',
      'a/b/c',
      'outside',
      '.',
      'b/..',
    );
    const entry = fc.record({
      name,
      type: fc.constantFrom('0', '0', '1', '2', '2', '5', '7', '3', '\0'),
      link: fc.oneof(name, fc.constantFrom('../outside', '../../outside', 'b/../..', '..')),
      mode: fc.constantFrom(0, 0o777, 0o6755),
      content: fc.constantFrom('', 'x'),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.oneof({ arbitrary: sane, weight: 9 }, { arbitrary: entry, weight: 1 }), {
          maxLength: 10,
        }),
        async (entries) => {
          const sound = entries.map((one) =>
            one.type === '0' || one.type === '7' ? one : { ...one, content: '' },
          );
          await unpack(rawTar(...sound)).catch((error: unknown) => {
            assert.ok(error instanceof FlashpodsError, String(error));
            assert.equal(error.code, 'invalid_request');
          });
          // A symlink may lead anywhere, and nothing goes through it; no file has a second name outside.
          const outside = await lstat(join(directory.path, 'outside'));
          assert.equal(outside.nlink, 1);
          assert.ok(outside.isFile());
          assert.deepEqual((await readdir(directory.path)).sort(), ['outside', 'source', 'tree']);
          assert.equal(await readFile(join(directory.path, 'outside'), 'utf8'), 'untouched');
          await removeTree(destination);
          await mkdir(destination);
        },
      ),
      { numRuns: 500 },
    );
  });
});
