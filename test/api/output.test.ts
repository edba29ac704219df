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
  matches?: number;
  next_line?: number | null;
  error: string;
  message: string;
  details: { field: string; line?: number };
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

  it('is empty, and not to be waited for, when the job ended before it had a host', async () => {
    const id = await api.caller.submit('true');
    await api.caller.json('DELETE', `/jobs/${id}`);
    for (const query of ['', '?offset=0', '?from_line=1', '?grep=x']) {
      const { status, body } = await get(id, query);
      assert.deepEqual([status, body.output, body.total_bytes, body.truncated], [200, '', 0, false]);
    }
    for (const format of ['ndjson', 'raw']) {
      const answer = await api.caller.fetch(`/jobs/${id}/output?format=${format}`);
      assert.deepEqual([answer.status, await answer.text()], [200, '']);
    }
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

  it('is valid JSON for any bytes that were printed', async () => {
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

  it('is read from a line on, as many lines as are asked for, and searched with what is around', async () => {
    const id = await jobWithLog(
      Array.from({ length: 3_000 }, (_, n) => [
        'stdout',
        n % 1_000 === 499 ? `Error: the cause ${n}` : `line ${n}`,
      ]),
    );
    const from = (await get(id, '?from_line=500&head=3')).body;
    assert.deepEqual(texts(from.output), ['Error: the cause 499', 'line 500', 'line 501']);
    assert.deepEqual(texts((await get(id, `?offset=${from.next_offset}&head=1`)).body.output), ['line 502']);
    assert.deepEqual(texts((await get(id, '?head=2')).body.output), ['line 0', 'line 1']);
    const beyond = (await get(id, '?from_line=9999')).body;
    assert.deepEqual([beyond.output, beyond.next_offset], ['', beyond.total_bytes]);
    const { body } = await get(id, '?grep=error%3A&ignore_case=true&context=1');
    assert.equal(
      body.output,
      [499, 1499, 2499]
        .map((n) => `${n}-line ${n - 1}\n${n + 1}:Error: the cause ${n}\n${n + 2}-line ${n + 1}\n`)
        .join('--\n'),
    );
    assert.deepEqual([body.matches, body.next_line], [3, null]);
    assert.equal((await get(id, '?grep=error%3A')).body.matches, 0);
    assert.equal((await get(id, '?grep=cause&from_line=501')).body.matches, 2);
    // Many matches come in answers that are not too long, each line once.
    const found: number[] = [];
    for (let line: number | null = 1; line !== null;) {
      const answer = await api.caller.fetch(
        `/jobs/${id}/output?grep=%5B13%5D&format=ndjson&from_line=${line}`,
      );
      const text = await answer.text();
      assert.ok(text.length < 300_000);
      for (const one of text.split('\n').filter(Boolean))
        found.push((JSON.parse(one) as { seq: number }).seq);
      const next = answer.headers.get('x-next-line');
      line = next === 'none' ? null : Number(next);
    }
    const expected = Array.from({ length: 3_000 }, (_, n) => n).filter((n) => /[13]/.test(`${n}`));
    assert.deepEqual(
      found,
      expected.map((n) => n + 1),
    );
  });

  it('is searched but for a line on which the pattern takes for ever, which is named', async () => {
    const slow = `${'a'.repeat(60)}b`;
    const id = await jobWithLog([
      ['stdout', 'aaa'],
      ['stdout', 'no'],
      ['stdout', slow],
      ['stdout', 'aa'],
    ]);
    const query = `?grep=${encodeURIComponent('^(a+)+$')}`;
    const first = await get(id, query);
    assert.deepEqual([first.status, first.body.output, first.body.next_line], [200, '1:aaa\n', 3]);
    const { status, body } = await get(id, `${query}&from_line=3`);
    assert.equal(status, 400);
    assert.deepEqual(body.details, { field: 'grep', line: 3, next_line: 4 });
    assert.match(body.message, /on line 3\b.*from_line=4/);
    const last = await get(id, `${query}&from_line=4`);
    assert.deepEqual([last.body.output, last.body.next_line], ['4:aa\n', null]);
  });

  it('keeps nobody from anything but searching, however slow the patterns are', async () => {
    const id = await jobWithLog([['stdout', `${'a'.repeat(60)}b`]]);
    const before = performance.eventLoopUtilization();
    const slow = `?grep=${encodeURIComponent('^(a+)+$')}`;
    const answers = await Promise.all(Array.from({ length: 8 }, () => get(id, slow)));
    const { active } = performance.eventLoopUtilization(before);
    assert.deepEqual(
      answers.map(({ status }) => status),
      Array<number>(8).fill(400),
    );
    assert.ok(active < 800, `busy for ${active} ms`);
  });

  it('is searched in answers of 80 kB at most, also where JSON makes lines longer', async () => {
    const id = await jobWithLog(
      Array.from({ length: 3_000 }, (_, n) => ['stdout', `${'"\u0001'.repeat(20)}${n}`]),
    );
    let seen = 0;
    for (let line = '1'; line !== 'none';) {
      const answer = await api.caller.fetch(`/jobs/${id}/output?grep=.&format=ndjson&from_line=${line}`);
      const text = await answer.text();
      assert.ok(text.length < 80_000, `${text.length}`);
      seen += text.split('\n').length - 1;
      line = answer.headers.get('x-next-line') ?? 'none';
    }
    assert.equal(seen, 3_000);
  });

  it('is searched for nobody who has gone', async () => {
    const id = await jobWithLog(
      Array.from({ length: 20_000 }, (_, n) => ['stdout', `line ${n} ${'x'.repeat(100)}`]),
    );
    const gone = new LocalLogStore(join(api.dir, 'logs'));
    const query = { pattern: 'line', ignoreCase: false, context: 0, line: 1, maxBytes: 1e9 };
    const found = await gone.search(id, query, AbortSignal.abort());
    assert.ok(
      (found?.matches ?? 0) < 5_000 && found?.nextLine === (found?.matches ?? 0) + 1,
      `${found?.matches}`,
    );
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
      ['?grep=(', 'grep'],
      ['?grep=x&tail=3', 'tail'],
      ['?context=3', 'context'],
      ['?from_line=1&offset=2', 'from_line'],
      ['?from_line=0', 'from_line'],
      ['?head=2&tail=2', 'head'],
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
