import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { get as httpGet, type IncomingMessage } from 'node:http';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { after, before, describe, it } from 'mocha';
import { eventually } from '../support/eventually.ts';
import { openFilesBelow } from '../support/open-files.ts';
import { look } from '../trees/hostile.ts';
import { makeCompleted, makeRunning } from './job-states.ts';
import { type RunningApi, startApi } from './running-api.ts';

const run = promisify(execFile);
const sha256 = (content: string | Buffer): string => createHash('sha256').update(content).digest('hex');

describe('the archive of a job’s artifacts', () => {
  let api: RunningApi;
  let artifactsDir: string;

  before(async () => {
    api = await startApi();
    artifactsDir = join(api.dir, 'artifacts');
  });
  after(() => api.stop());

  const complete = async (contents: Record<string, string | Buffer>): Promise<string> => {
    const job = await api.caller.submit('true');
    for (const [name, content] of Object.entries(contents)) {
      const file = join(artifactsDir, job, name);
      await mkdir(dirname(file), { recursive: true });
      await writeFile(file, content);
    }
    const records = Object.entries(contents).map(([name, content]) => ({
      name,
      sizeBytes: Buffer.byteLength(content),
      sha256: sha256(content),
      createdAt: Date.parse('2026-01-02T03:04:05Z'),
    }));
    await makeCompleted(api.store, job, records);
    return job;
  };
  const fetchArchive = (job: string, init: RequestInit = {}): Promise<Response> =>
    api.caller.fetch(`/jobs/${job}/artifacts.tar.gz`, init);
  const unpack = async (bytes: ArrayBuffer): Promise<string> => {
    const target = join(api.dir, `unpacked-${randomBytes(4).toString('hex')}`);
    await mkdir(target);
    await writeFile(`${target}.tar.gz`, Buffer.from(bytes));
    await run('tar', ['-xzf', `${target}.tar.gz`, '-C', target]);
    return target;
  };
  /** An answer whose body nobody reads. */
  const unread = (job: string): Promise<IncomingMessage> =>
    new Promise((resolve, reject) => {
      const headers = { authorization: `Bearer ${api.token}` };
      const path = `/jobs/${job}/artifacts.tar.gz`;
      httpGet({ host: '127.0.0.1', port: api.port, path, headers, agent: false }, resolve).on(
        'error',
        reject,
      );
    });
  const bytesReadByUs = async (): Promise<number> =>
    Number(/rchar: (\d+)/.exec(await readFile('/proc/self/io', 'utf8'))?.[1]);

  it('holds every file under its name, with its bytes and its time', async () => {
    const long = 'd'.repeat(255);
    const files: Record<string, string | Buffer> = {
      'report.txt': 'hello',
      '.hidden': 'h',
      empty: '',
      'a/b c/-rf': 'deep',
      'ünï "x";\n.txt': 'odd',
      [`${long}/${'é'.repeat(127)}`]: 'long',
      'block-1': 'x'.repeat(512),
      'block-2': randomBytes(700_001),
    };
    const answer = await fetchArchive(await complete(files));
    assert.equal(answer.status, 200);
    assert.equal(answer.headers.get('content-type'), 'application/gzip');
    assert.match(
      answer.headers.get('content-disposition') ?? '',
      /^attachment; filename="job_\w+-artifacts\.tar\.gz"$/,
    );
    assert.equal(answer.headers.get('content-length'), null);
    const target = await unpack(await answer.arrayBuffer());
    for (const [name, content] of Object.entries(files)) {
      assert.equal(sha256(await readFile(join(target, name))), sha256(content), name);
    }
    const kept = (await look(target)).filter((line) => line.includes('|f|'));
    assert.equal(kept.length, Object.keys(files).length);
    assert.ok(kept.every((line) => line.split('|')[2] === '644'));
    const { stdout } = await run('date', ['-r', join(target, 'report.txt'), '+%s']);
    assert.equal(Number(stdout) * 1000, Date.parse('2026-01-02T03:04:05Z'));
  });

  it('is empty when there are none', async () => {
    const target = await unpack(await (await fetchArchive(await complete({}))).arrayBuffer());
    assert.deepEqual(await look(target), []);
  });

  it('answers HEAD, and a client that has it already', async () => {
    const job = await complete({ f: '1' });
    const head = await fetchArchive(job, { method: 'HEAD' });
    assert.equal(head.status, 200);
    assert.equal(head.headers.get('content-length'), null);
    assert.equal(head.headers.get('content-type'), 'application/gzip');
    const tag = head.headers.get('etag') ?? '';
    assert.match(tag, /^W\/"[0-9a-f]{64}"$/);
    for (const known of [tag, tag.slice(2), `"x", ${tag}`]) {
      assert.equal((await fetchArchive(job, { headers: { 'if-none-match': known } })).status, 304, known);
    }
    const other = await complete({ f: '2' });
    const answer = await fetchArchive(other, { headers: { 'if-none-match': tag, range: 'bytes=0-3' } });
    assert.equal(answer.status, 200);
    assert.ok((await answer.arrayBuffer()).byteLength > 4);
  });

  it('is there exactly when the artifacts are', async () => {
    const codeOf = async (job: string): Promise<[number, unknown]> => {
      const answer = await fetchArchive(job);
      return [answer.status, ((await answer.json()) as { error: unknown }).error];
    };
    const running = await api.caller.submit('true');
    await makeRunning(api.store, running);
    assert.deepEqual(await codeOf(running), [404, 'artifacts_not_available']);
    assert.deepEqual(await codeOf('job_aaaaaaaaaaaa'), [404, 'job_not_found']);
    const going = await complete({ f: 'x' });
    await rm(join(artifactsDir, going), { recursive: true });
    assert.deepEqual(await codeOf(going), [410, 'artifacts_deleted']);
  });

  it('never looks whole when a file of it is gone or has changed', async () => {
    for (const spoil of [
      (file: string) => rm(file),
      (file: string) => truncate(file, 10),
      (file: string) => writeFile(file, 'longer than it was'),
    ]) {
      const job = await complete({ a: 'fine', b: 'twelve bytes' });
      await spoil(join(artifactsDir, job, 'b'));
      await assert.rejects(async () => (await fetchArchive(job)).arrayBuffer());
    }
  });

  it('is read no faster than its client reads, and closes its files when the client goes', async () => {
    const size = 64 * 2 ** 20;
    const job = await complete({ noise: randomBytes(size) });
    const begun = await bytesReadByUs();
    const answer = await unread(job);
    // It stands still once every buffer on the way is full.
    let last = -1;
    const read = await eventually(
      'nothing more is read',
      async () => {
        const before = last;
        last = (await bytesReadByUs()) - begun;
        return last - before < 100_000 && last > 100_000 ? last : null;
      },
      { everyMs: 200 },
    );
    assert.ok(read < size / 2, `${read} of ${size} bytes were read for a client that reads nothing`);
    assert.equal((await openFilesBelow(artifactsDir)).length, 1);
    answer.destroy();
    await eventually('no artifact is open', async () => (await openFilesBelow(artifactsDir)).length === 0);
  });
});
