import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { LocalLogStore } from '../../src/logs/local-log-store.ts';
import { texts } from '../support/http.ts';
import { makeCompleted } from './job-states.ts';
import { type RunningApi, startApi } from './running-api.ts';

interface Output {
  output: string;
  lines: number;
  truncated: boolean;
  total_bytes: number;
  next_offset: number;
  error: string;
  details: { field: string };
}

describe('the output of a job', () => {
  let api: RunningApi;

  before(async () => {
    api = await startApi();
    await mkdir(join(api.dir, 'logs'));
  });
  after(() => api.stop());

  const jobWithLog = async (
    lines: readonly [stream: 'stdout' | 'stderr', text: string][],
  ): Promise<string> => {
    const id = await api.caller.submit('true');
    const spoolPath = join(api.dir, `${id}.spool`);
    await writeFile(
      spoolPath,
      lines.map(([stream, text]) => `2026-01-02T03:04:05.678901234+00:00 ${stream} F ${text}\n`).join(''),
    );
    await (await new LocalLogStore(join(api.dir, 'logs')).capture({ jobId: id, spoolPath })).finish();
    return id;
  };
  const get = (id: string, query = '') => api.caller.json<Output>('GET', `/jobs/${id}/output${query}`);

  it('is not there before anything was captured', async () => {
    const { status, body } = await get(await api.caller.submit('true'));
    assert.equal(status, 404);
    assert.equal(body.error, 'logs_not_available');
  });

  it('is its last lines, 100 unless more are asked for', async () => {
    const id = await jobWithLog(Array.from({ length: 150 }, (_, n) => ['stdout', `line ${n}`]));
    const { body } = await get(id);
    assert.equal(body.lines, 100);
    assert.deepEqual(texts(body.output).slice(-1), ['line 149']);
    assert.match(body.output, /^\[03:04:05\.678\] line 50\n/);
    assert.equal(body.truncated, false);
    assert.equal((await get(id, '?tail=2')).body.lines, 2);
    assert.equal((await get(id, '?tail=10000')).body.lines, 150);
    assert.equal((await get(id, '?tail=2')).body.total_bytes, (await get(id, '?offset=0')).body.next_offset);
  });

  it('is read on from a byte, missing nothing and repeating nothing', async () => {
    const id = await jobWithLog(Array.from({ length: 10 }, (_, n) => ['stdout', `n${n}`]));
    const whole = (await get(id, '?offset=0')).body;
    assert.equal(whole.lines, 10);
    const end = (await get(id, `?offset=${whole.next_offset}`)).body;
    assert.deepEqual([end.output, end.lines, end.next_offset], ['', 0, whole.next_offset]);
    const half = whole.output.indexOf('\n', 50) + 1;
    assert.equal((await get(id, `?offset=${half}`)).body.output, whole.output.slice(half));
  });

  it('is one object a line for programs', async () => {
    const id = await jobWithLog([
      ['stdout', 'out'],
      ['stderr', 'problem "quoted"'],
    ]);
    const answer = await api.caller.fetch(`/jobs/${id}/output?format=ndjson&offset=0`);
    assert.match(answer.headers.get('content-type') ?? '', /^application\/x-ndjson/);
    const text = await answer.text();
    assert.deepEqual(
      text
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as unknown),
      [
        { seq: 1, time: '2026-01-02T03:04:05.678Z', stream: 'stdout', text: 'out' },
        { seq: 2, time: '2026-01-02T03:04:05.678Z', stream: 'stderr', text: 'problem "quoted"' },
      ],
    );
    const next = answer.headers.get('x-next-offset');
    assert.equal(next, answer.headers.get('x-total-bytes'));
    const rest = await api.caller.fetch(`/jobs/${id}/output?format=ndjson&offset=${next}`);
    assert.equal(await rest.text(), '');
    const tail = await api.caller.fetch(`/jobs/${id}/output?format=ndjson&tail=1`);
    assert.equal((await tail.text()).trim().split('\n').length, 1);
  });

  it('is valid JSON whatever bytes were printed', async () => {
    const id = await api.caller.submit('true');
    const spoolPath = join(api.dir, `${id}.spool`);
    await writeFile(
      spoolPath,
      Buffer.concat([
        Buffer.from('2026-01-02T03:04:05.678901234+00:00 stdout F a'),
        Buffer.from([0, 0xff, 0xfe, 27]),
        Buffer.from('z\n'),
      ]),
    );
    await (await new LocalLogStore(join(api.dir, 'logs')).capture({ jobId: id, spoolPath })).finish();
    const { status, body } = await get(id);
    assert.equal(status, 200);
    assert.match(body.output, /a\0.*z\n$/s);
  });

  it('names the parameter that is wrong', async () => {
    const id = await jobWithLog([['stdout', 'x']]);
    for (const [query, field] of [
      ['?tail=0', 'tail'],
      ['?tail=10001', 'tail'],
      ['?tail=x', 'tail'],
      ['?offset=-1', 'offset'],
      ['?offset=1&tail=1', 'offset'],
      ['?format=xml', 'format'],
      ['?stream=stderr', 'stream'],
      ['?lines=5', 'lines'],
    ] as const) {
      const { status, body } = await get(id, query);
      assert.equal(status, 400, query);
      assert.equal(body.details.field, field, query);
    }
    assert.equal((await get('job_aaaaaaaaaaaa')).body.error, 'job_not_found');
  });

  it('is gone once it was deleted', async () => {
    const id = await jobWithLog([['stdout', 'x']]);
    const { epoch } = await makeCompleted(api.store, id);
    assert.equal((await get(id)).status, 200);
    await api.store.patch(id, epoch, { logsDeletedAt: Date.now() });
    const { status, body } = await get(id);
    assert.equal(status, 410);
    assert.equal(body.error, 'logs_deleted');
  });
});
