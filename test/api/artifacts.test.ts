import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdir, rm, symlink, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { dirname, join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { eventually } from '../support/eventually.ts';
import { openFilesBelow } from '../support/open-files.ts';
import { makeCollecting, makeCompleted, makeRunning } from './job-states.ts';
import { type RunningApi, startApi } from './running-api.ts';

const sha256 = (content: string): string => createHash('sha256').update(content).digest('hex');

describe('the artifacts of a job', () => {
  let api: RunningApi;
  let id: string;
  const CONTENT = '0123456789abcdef';
  const files: Record<string, string> = {
    'report.txt': CONTENT,
    'out/deep/a b.json': '{}',
    '.hidden': 'h',
    'empty.bin': '',
    'ünï "x";\n.txt': 'odd',
  };

  const complete = async (contents: Record<string, string>): Promise<string> => {
    const job = await api.caller.submit('true');
    for (const [name, content] of Object.entries(contents)) {
      const file = join(api.dir, 'artifacts', job, name);
      await mkdir(dirname(file), { recursive: true });
      await writeFile(file, content);
    }
    const records = Object.entries(contents).map(([name, content]) => ({
      name,
      sizeBytes: Buffer.byteLength(content),
      sha256: sha256(content),
      createdAt: Date.now(),
    }));
    await makeCompleted(api.store, job, records);
    return job;
  };
  before(async () => {
    api = await startApi();
    id = await complete(files);
  });
  after(() => api.stop());

  const get = (name: string, headers: Record<string, string> = {}, method = 'GET') =>
    api.caller.fetch(`/jobs/${id}/artifacts/${name}`, { headers, method });
  /** The path as it is, dots and all: `fetch` would tidy it. */
  const getRaw = (path: string): Promise<{ status: number; body: string }> =>
    new Promise((resolve, reject) => {
      const sent = request(
        { port: api.port, host: '127.0.0.1', path, headers: { authorization: `Bearer ${api.token}` } },
        (answer) => {
          let body = '';
          answer.on('data', (chunk: Buffer) => (body += chunk.toString()));
          answer.on('end', () => resolve({ status: answer.statusCode ?? 0, body }));
        },
      );
      sent.on('error', reject).end();
    });
  const codeOf = async (answer: Response): Promise<unknown> =>
    ((await answer.json()) as { error: unknown }).error;

  it('are listed with size, hash and expiry', async () => {
    const { status, body } = await api.caller.json<{
      artifacts: { name: string; size_bytes: number; sha256: string }[];
      total_size_bytes: number;
      expires_at: string;
      copy_in_progress: boolean;
    }>('GET', `/jobs/${id}/artifacts`);
    assert.equal(status, 200);
    assert.deepEqual(body.artifacts.map(({ name }) => name).sort(), Object.keys(files).sort());
    assert.equal(body.artifacts.find(({ name }) => name === 'report.txt')?.sha256, sha256(CONTENT));
    assert.equal(body.total_size_bytes, 16 + 2 + 1 + 0 + 3);
    assert.equal(body.copy_in_progress, false);
    const { completed_at } = await api.caller.job(id);
    assert.equal(Date.parse(body.expires_at) - Date.parse(String(completed_at)), 3_600_000);
  });

  it('come with type, length, name and hash, and are never shown in the browser', async () => {
    const answer = await get('report.txt');
    assert.equal(answer.status, 200);
    assert.equal(await answer.text(), CONTENT);
    assert.equal(answer.headers.get('content-length'), '16');
    assert.match(answer.headers.get('content-type') ?? '', /^text\/plain/);
    assert.equal(answer.headers.get('content-disposition'), 'attachment; filename="report.txt"');
    assert.equal(answer.headers.get('etag'), `"${sha256(CONTENT)}"`);
    assert.equal(answer.headers.get('accept-ranges'), 'bytes');
    assert.equal(answer.headers.get('x-content-type-options'), 'nosniff');
    const hidden = await get('.hidden');
    assert.equal(hidden.headers.get('content-type'), 'application/octet-stream');
    assert.equal(await hidden.text(), 'h');
  });

  it('are named nested as a/b or a%2Fb, and by any character', async () => {
    assert.equal(await (await get('out/deep/a%20b.json')).text(), '{}');
    assert.equal(await (await get('out%2Fdeep%2fa%20b.json')).text(), '{}');
    const odd = await get(encodeURIComponent('ünï "x";\n.txt'));
    assert.equal(await odd.text(), 'odd');
    assert.match(odd.headers.get('content-disposition') ?? '', /^attachment; filename=/);
  });

  it('are answered empty when they are empty', async () => {
    const answer = await get('empty.bin');
    assert.equal(answer.status, 200);
    assert.equal(answer.headers.get('content-length'), '0');
    assert.equal(await answer.text(), '');
  });

  it('answer HEAD with the same headers and nothing else', async () => {
    const answer = await get('report.txt', {}, 'HEAD');
    assert.equal(answer.status, 200);
    assert.equal(answer.headers.get('content-length'), '16');
    assert.equal(answer.headers.get('etag'), `"${sha256(CONTENT)}"`);
    assert.equal(await answer.text(), '');
    // A range is defined for GET alone.
    const whole = await get('report.txt', { range: 'bytes=0-3' }, 'HEAD');
    assert.deepEqual([whole.status, whole.headers.get('content-length')], [200, '16']);
    assert.equal((await get('report.txt', { 'if-none-match': '*' }, 'HEAD')).status, 304);
  });

  it('are sent in part', async () => {
    const cases: [range: string, text: string, header: string][] = [
      ['bytes=0-3', '0123', 'bytes 0-3/16'],
      ['bytes=10-', 'abcdef', 'bytes 10-15/16'],
      ['bytes=-4', 'cdef', 'bytes 12-15/16'],
      ['bytes=5-999', '56789abcdef', 'bytes 5-15/16'],
      ['bytes=-999', CONTENT, 'bytes 0-15/16'],
      ['Bytes=15-15', 'f', 'bytes 15-15/16'],
      [`bytes=14-${'9'.repeat(40)}`, 'ef', 'bytes 14-15/16'],
    ];
    for (const [range, text, header] of cases) {
      const answer = await get('report.txt', { range });
      assert.equal(answer.status, 206, range);
      assert.equal(answer.headers.get('content-range'), header);
      assert.equal(answer.headers.get('content-length'), String(text.length));
      assert.equal(await answer.text(), text);
    }
    for (const range of ['bytes=0-1,3-4', 'bytes=5-2', 'bytes=-', 'lines=1-2', 'bytes=a-b']) {
      const answer = await get('report.txt', { range });
      assert.equal(answer.status, 200, range);
      assert.equal(await answer.text(), CONTENT);
    }
  });

  it('say how long they are to a range beyond their end', async () => {
    for (const [name, range, size] of [
      ['report.txt', 'bytes=16-', 16],
      ['report.txt', `bytes=${'9'.repeat(40)}-`, 16],
      ['report.txt', 'bytes=-0', 16],
      ['empty.bin', 'bytes=0-', 0],
    ] as const) {
      const answer = await get(name, { range });
      assert.equal(answer.status, 416, range);
      assert.equal(answer.headers.get('content-range'), `bytes */${size}`);
      assert.equal(await codeOf(answer), 'invalid_request');
    }
  });

  it('are not sent to clients that have them, and resumed only if they are the same', async () => {
    const tag = `"${sha256(CONTENT)}"`;
    for (const known of [tag, `W/${tag}`, `"x", ${tag}`, '*']) {
      const answer = await get('report.txt', { 'if-none-match': known });
      assert.equal(answer.status, 304, known);
      assert.equal(await answer.text(), '');
    }
    assert.equal((await get('report.txt', { 'if-none-match': '"x"' })).status, 200);
    assert.equal((await get('report.txt', { range: 'bytes=0-0', 'if-range': tag })).status, 206);
    for (const other of ['"x"', `W/${tag}`, 'Sat, 01 Jan 2022 00:00:00 GMT']) {
      const answer = await get('report.txt', { range: 'bytes=0-0', 'if-range': other });
      assert.equal(answer.status, 200, other);
      assert.equal(await answer.text(), CONTENT);
    }
    // Where both are asked, a client that has it already is told that first.
    assert.equal((await get('report.txt', { range: 'bytes=99-', 'if-none-match': tag })).status, 304);
  });

  it('refuse names that try tricks, and know no other files', async () => {
    await writeFile(join(api.dir, 'artifacts', id, 'unrecorded'), 'x');
    await symlink('/etc/passwd', join(api.dir, 'artifacts', id, 'passwd'));
    for (const name of [
      '..%2f..%2fflashpods.db',
      '%2e%2e/%2e%2e/flashpods.db',
      'out/../report.txt',
      '..',
      '.',
      'out//deep',
      '%2fetc%2fpasswd',
      'a%00b',
      'a%5cb',
      '%20x',
      'x%20',
      'x'.repeat(256),
      '%2e%2e%5c%2e%2e',
    ]) {
      const { status, body } = await getRaw(`/jobs/${id}/artifacts/${name}`);
      assert.equal(status, 400, `${name}: ${body}`);
      assert.equal((JSON.parse(body) as { error: string }).error, 'invalid_artifact_name', name);
    }
    for (const name of ['unrecorded', 'passwd', 'nothing', 'out', 'out/deep', 'report.txt/x', '%252e%252e']) {
      const { status, body } = await getRaw(`/jobs/${id}/artifacts/${name}`);
      assert.equal(status, 404, name);
      assert.equal((JSON.parse(body) as { error: string }).error, 'artifact_not_found', name);
    }
  });

  it('never follow a link that took a recorded file’s place', async () => {
    const job = await complete({ f: 'x' });
    await rm(join(api.dir, 'artifacts', job, 'f'));
    await symlink('/etc/passwd', join(api.dir, 'artifacts', job, 'f'));
    const answer = await api.caller.fetch(`/jobs/${job}/artifacts/f`);
    assert.equal(answer.status, 410);
    assert.equal(await codeOf(answer), 'artifacts_deleted');
  });

  it('are not begun to be sent when they are not what was recorded', async () => {
    const job = await complete({ f: 'four' });
    await writeFile(join(api.dir, 'artifacts', job, 'f'), 'longer');
    const answer = await api.caller.fetch(`/jobs/${job}/artifacts/f`);
    assert.equal(answer.status, 500);
    assert.equal(await codeOf(answer), 'internal_error');
  });

  it('are closed again when their reader goes away in the middle', async () => {
    const job = await complete({ big: 'x'.repeat(20_000_000) });
    const leaving = new AbortController();
    const answer = await api.caller.fetch(`/jobs/${job}/artifacts/big`, { signal: leaving.signal });
    assert.equal(answer.status, 200);
    assert.equal((await openFilesBelow(join(api.dir, 'artifacts'))).length, 1);
    leaving.abort();
    await eventually(
      'no artifact is open',
      async () => (await openFilesBelow(join(api.dir, 'artifacts'))).length === 0,
    );
  });

  it('are there after the job has ended and its files were collected, until they are deleted', async () => {
    const states = async (job: string): Promise<[number, unknown, number, unknown]> => {
      const list = await api.caller.json('GET', `/jobs/${job}/artifacts`);
      const one = await api.caller.json('GET', `/jobs/${job}/artifacts/x`);
      return [list.status, list.body['error'], one.status, one.body['error']];
    };
    const queued = await api.caller.submit('true');
    assert.deepEqual(await states(queued), [404, 'artifacts_not_available', 404, 'artifacts_not_available']);
    await makeRunning(api.store, queued);
    assert.deepEqual(await states(queued), [404, 'artifacts_not_available', 404, 'artifacts_not_available']);

    const collecting = await api.caller.submit('true');
    await makeCollecting(api.store, collecting);
    assert.deepEqual(await states(collecting), [503, 'copy_in_progress', 503, 'copy_in_progress']);
    assert.equal((await api.caller.fetch(`/jobs/${collecting}/artifacts`)).headers.get('retry-after'), '1');

    const done = await api.caller.submit('true');
    const { epoch } = await makeCompleted(api.store, done);
    assert.deepEqual(await states(done), [200, undefined, 404, 'artifact_not_found']);
    await api.store.patch(done, epoch, { artifactsDeletedAt: Date.now() });
    assert.deepEqual(await states(done), [410, 'artifacts_deleted', 410, 'artifacts_deleted']);
  });
});
