import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, it } from 'mocha';
import { FlashpodsClient } from '../../src/client/client.ts';
import { downloadInto } from '../../src/client/download.ts';
import { connectionTo, type Script, WireServer } from './wire-server.ts';

const CONTENT = 'content of the artifact';
const artifact = (name: string, change: object = {}) => ({
  name,
  size_bytes: CONTENT.length,
  sha256: createHash('sha256').update(CONTENT).digest('hex'),
  created_at: '2026-01-01T00:00:00.000Z',
  ...change,
});

const endless: Script = (_seen, response) => {
  const more = (): void => {
    while (!response.destroyed && response.write(CONTENT));
  };
  response.on('drain', more);
  more();
};

describe('fetching artifacts', () => {
  let scratch: string;
  let directory: string;
  let server: WireServer;
  let client: FlashpodsClient;
  const whole: Script = (_seen, response) => response.end(CONTENT);
  let script = whole;

  before(async () => {
    server = await new WireServer((...args) => script(...args)).start();
    client = new FlashpodsClient(connectionTo(server.url));
  });
  after(async () => {
    client.close();
    await server.stop();
  });
  beforeEach(async () => {
    script = whole;
    scratch = await mkdtemp(join(tmpdir(), 'flashpods-download-'));
    directory = join(scratch, 'out');
  });
  afterEach(() => rm(scratch, { recursive: true, force: true }));

  const fetch = (name: string, force = false, change: object = {}): Promise<string> =>
    downloadInto(client, 'job_aaaaaaaaaaaa', artifact(name, change), directory, { force });
  const everything = async (): Promise<string[]> => (await readdir(scratch, { recursive: true })).sort();

  it('puts a .git only into a directory that is new', async () => {
    await fetch('.git/hooks/pre-commit');
    // It is not empty any more, and what is new in it is.
    await fetch('repository/.git/config');
    await fetch('.gitignore');
    const before = await everything();
    for (const name of [
      '.git/hooks/post-checkout',
      '.git',
      '.GIT/config',
      '.g\u200cit/config',
      'git~1/config',
      '.git./config',
      'repository/.git/hooks/pre-commit',
    ]) {
      await assert.rejects(fetch(name, true), { code: 'unsafe_artifact_name', message: /belongs to a git/ });
    }
    assert.deepEqual(await everything(), before);
  });

  it('keeps subdirectories and strange but harmless names', async () => {
    for (const name of [
      'a/b/c.txt',
      '.hidden',
      'with space',
      '...',
      'größe-😀',
      `${'n'.repeat(255)}`,
      '-rf',
    ]) {
      const path = await fetch(name);
      assert.equal(path, join(directory, name));
      assert.equal(await readFile(path, 'utf8'), CONTENT);
    }
    assert.deepEqual(
      (await everything()).filter((name) => name.endsWith('.part')),
      [],
    );
  });

  for (const name of [
    '../escaped',
    'a/../../escaped',
    '/etc/escaped',
    '..',
    '.',
    '',
    'a//b',
    'a/',
    'a\\..\\b',
    'nul\0byte',
    ' padded',
    'n'.repeat(256),
  ]) {
    it(`refuses the name ${JSON.stringify(name.slice(0, 20))} of a hostile server`, async () => {
      await assert.rejects(fetch(name, true), { code: 'unsafe_artifact_name' });
      assert.deepEqual(await everything(), []);
    });
  }

  it('does not follow a symlink that lies where a directory belongs', async () => {
    await mkdir(directory);
    await mkdir(join(scratch, 'elsewhere'));
    await symlink('../elsewhere', join(directory, 'a'));
    await assert.rejects(fetch('a/b', true), { code: 'file_exists', message: /is a symlink/ });
    assert.deepEqual(await readdir(join(scratch, 'elsewhere')), []);
  });

  it('replaces a symlink, not what it leads to, when it may overwrite', async () => {
    await mkdir(directory);
    await writeFile(join(scratch, 'precious'), 'mine');
    await symlink('../precious', join(directory, 'a'));
    await assert.rejects(fetch('a'), { code: 'file_exists' });
    await fetch('a', true);
    assert.equal(await readFile(join(scratch, 'precious'), 'utf8'), 'mine');
    assert.equal(await readFile(join(directory, 'a'), 'utf8'), CONTENT);
  });

  it('never overwrites a file unless it is told to', async () => {
    await mkdir(directory);
    await writeFile(join(directory, 'a'), 'mine');
    const before = server.seen.length;
    await assert.rejects(fetch('a'), { code: 'file_exists' });
    assert.equal(server.seen.length, before, 'it was fetched in vain');
    assert.equal(await readFile(join(directory, 'a'), 'utf8'), 'mine');
    await fetch('a', true);
    assert.equal(await readFile(join(directory, 'a'), 'utf8'), CONTENT);
  });

  it('does not overwrite a file that came to be while it was fetched', async () => {
    script = (_seen, response) => {
      response.write(CONTENT.slice(0, 4));
      void writeFile(join(directory, 'a'), 'mine').then(() => response.end(CONTENT.slice(4)));
    };
    await assert.rejects(fetch('a'), { code: 'file_exists' });
    assert.equal(await readFile(join(directory, 'a'), 'utf8'), 'mine');
    assert.deepEqual(await everything(), ['out', 'out/a']);
  });

  for (const [what, honours] of [
    ['asks for the rest', true],
    ['drops what it has already when the server sends all of it again', false],
  ] as const) {
    it(`${what} of a file whose connection broke`, async () => {
      script = ({ headers }, response, nth) => {
        const from = honours ? Number(/^bytes=(\d+)-$/.exec(headers.range ?? '')?.[1] ?? 0) : 0;
        if (from > 0) response.writeHead(206, { 'content-range': `bytes ${from}-22/23` });
        else response.writeHead(200, { 'content-length': '23' });
        if (nth === first + 1) response.write(CONTENT.slice(0, 9), () => response.destroy());
        else response.end(CONTENT.slice(from));
      };
      const first = server.seen.length;
      assert.equal(await readFile(await fetch('a'), 'utf8'), CONTENT);
      assert.deepEqual(
        server.seen.slice(first).map(({ headers }) => headers.range),
        [undefined, 'bytes=9-'],
      );
      assert.deepEqual(await everything(), ['out', 'out/a']);
    });
  }

  for (const [what, lie, change] of [
    ['other bytes than it promised', whole, { sha256: '0'.repeat(64) }],
    ['fewer bytes', whole, { size_bytes: CONTENT.length + 1 }],
    ['more bytes', whole, { size_bytes: 3 }],
    ['bytes without end', endless, {}],
    [
      'a broken stream',
      (_s, r) => r.writeHead(200, { 'content-length': '23' }).write('con', () => r.destroy()),
      {},
    ],
  ] as const satisfies readonly (readonly [string, Script, object])[]) {
    it(`leaves no file behind when the server sends ${what}`, async () => {
      script = lie;
      await assert.rejects(fetch('a', false, change), { code: 'download_failed' });
      assert.deepEqual(await everything(), ['out']);
    });
  }
});
