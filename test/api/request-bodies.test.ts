import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { after, before, describe, it } from 'mocha';
import { MAX_JSON_BYTES } from '../../api/middleware/input.ts';
import { raw } from './raw-http.ts';
import { type RunningApi, startApi } from './running-api.ts';

interface ErrorAnswer {
  error: string;
  message: string;
  details: { field?: string };
  request_id: string;
  retryable: boolean;
}

describe('what a request carries', () => {
  let api: RunningApi;

  before(async () => {
    api = await startApi();
  });
  after(() => api.stop());

  const send = async (
    body: string | Buffer,
    headers: Record<string, string> = {},
  ): Promise<{ status: number; body: ErrorAnswer }> => {
    const answer = await api.caller.fetch('/jobs', {
      method: 'POST',
      body,
      headers: { 'content-type': 'application/json', ...headers },
    });
    return { status: answer.status, body: (await answer.json()) as ErrorAnswer };
  };
  const refused = async (
    body: unknown,
    expected: { status: number; code: string; field?: string },
    headers?: Record<string, string>,
  ): Promise<void> => {
    const text = typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body);
    const what = text.toString().slice(0, 80);
    const answer = await send(text, headers);
    assert.equal(answer.status, expected.status, what);
    assert.equal(answer.body.error, expected.code, what);
    if (expected.field !== undefined) {
      assert.equal(answer.body.details.field, expected.field, what);
      if (expected.field !== '')
        assert.ok(answer.body.message.includes(`\`${expected.field}`), answer.body.message);
    }
    assert.match(answer.body.request_id, /^[0-9a-f-]{36}$/);
  };
  const head = (headers: string): string =>
    `POST /jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${api.token}\r\nContent-Type: application/json\r\n${headers}\r\n`;

  it('is refused with 413 above 1 MB, whether or not its length is announced', async () => {
    const large = 'x'.repeat(10_000_000);
    await refused(large, { status: 413, code: 'payload_too_large' });
    const stream = await api.caller.fetch('/jobs', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: new Blob([large]).stream(),
      duplex: 'half',
    });
    assert.equal(stream.status, 413);
    assert.equal(((await stream.json()) as ErrorAnswer).error, 'payload_too_large');
  });

  it('is refused by its announced length before any of it has come', async () => {
    const answer = await raw(api.port, head('Content-Length: 10000000\r\n'));
    assert.equal(answer.status, 413);
  });

  it('is taken up to 1 MB exactly, and then judged', async () => {
    const fits = `{"type":"worker","command":"${'x'.repeat(MAX_JSON_BYTES - 30)}`;
    const padded = `${fits.slice(0, MAX_JSON_BYTES - 2)}"}`;
    assert.equal(Buffer.byteLength(padded), MAX_JSON_BYTES);
    await refused(padded, { status: 400, code: 'invalid_request', field: 'command' });
    await refused(`${padded} `, { status: 413, code: 'payload_too_large' });
  });

  it('is refused when it is not JSON in UTF-8', async () => {
    for (const body of [
      '{"type":',
      '{]',
      'null x',
      '{"a":1,}',
      Buffer.from('{"type":"worker","command":"\xff"}', 'latin1'),
      '\0',
    ]) {
      await refused(body, { status: 400, code: 'invalid_request', field: '' });
    }
  });

  it('is refused when it is no object', async () => {
    for (const body of ['[]', 'null', '1', '"worker"', 'true']) {
      await refused(body, { status: 400, code: 'invalid_request', field: '' });
    }
    await refused('['.repeat(100_000), { status: 400, code: 'invalid_request', field: '' });
    await refused('['.repeat(500_000) + ']'.repeat(500_000), {
      status: 400,
      code: 'invalid_request',
      field: '',
    });
  });

  it('is refused when it is missing', async () => {
    const { status, body } = await api.caller.json<ErrorAnswer>('POST', '/jobs');
    assert.equal(status, 400);
    assert.equal(body.error, 'invalid_request');
  });

  it('is refused with 415 under another type, charset or encoding', async () => {
    const body = { type: 'worker', command: 'true' };
    for (const headers of [
      { 'content-type': 'text/plain' },
      { 'content-type': 'application/x-www-form-urlencoded' },
      { 'content-type': 'application/jsonx' },
      { 'content-type': 'application/json; charset=latin1' },
      { 'content-encoding': 'gzip' },
    ]) {
      await refused(body, { status: 415, code: 'unsupported_media_type' }, headers);
    }
    assert.equal(
      (await send(JSON.stringify(body), { 'content-type': 'Application/JSON; Charset="UTF-8"' })).status,
      201,
    );
  });

  it('names the field that is wrong, each with its code', async () => {
    const job = (fields: object): object => ({ type: 'worker', command: 'true', ...fields });
    const cases: [body: object, code: string, field: string][] = [
      [job({ command: 'x'.repeat(10_001) }), 'invalid_request', 'command'],
      [job({ command: 'é'.repeat(5_001) }), 'invalid_request', 'command'],
      [job({ command: 'a\0b' }), 'invalid_request', 'command'],
      [job({ command: 'a\ud800b' }), 'invalid_request', 'command'],
      [job({ command: ['true'] }), 'invalid_request', 'command'],
      [job({ env: { A: 'x\0' } }), 'invalid_request', 'env.A'],
      [job({ labels: { a: 5 } }), 'invalid_request', 'labels.a'],
      [job({ files_id: '../../etc' }), 'invalid_request', 'files_id'],
      [job({ comand: 'typo' }), 'invalid_request', 'comand'],
      [job({ priority: 11 }), 'invalid_request', 'priority'],
      [job({ image: 'Not An Image' }), 'invalid_image', 'image'],
      [job({ image: 'a\0b' }), 'invalid_image', 'image'],
      [job({ cpus: 0 }), 'invalid_cpus', 'cpus'],
      [job({ cpus: 1.5 }), 'invalid_cpus', 'cpus'],
      [job({ cpus: '2' }), 'invalid_cpus', 'cpus'],
      [job({ memory_gb: -1 }), 'invalid_memory', 'memory_gb'],
      [job({ timeout_minutes: 0 }), 'invalid_timeout', 'timeout_minutes'],
      [job({ client_job_id: 'abc' }), 'invalid_client_job_id', 'client_job_id'],
    ];
    for (const [body, code, field] of cases) await refused(body, { status: 400, code, field });
    await refused({ type: 'robot' }, { status: 400, code: 'invalid_job_type', field: 'type' });
    await refused({ type: 'worker' }, { status: 400, code: 'missing_command' });
    await refused({ type: 'agent', git_branch: 'b' }, { status: 400, code: 'missing_task' });
    await refused({ type: 'agent', task: 't' }, { status: 400, code: 'missing_git_branch' });
  });

  it('names every field that is wrong or unknown at once, in body and query', async () => {
    const wrong = { type: 'worker', command: 'true', cpus: 0, priority: 11, timeout_minuts: 5, ramm: 1 };
    const { body } = await send(JSON.stringify(wrong));
    for (const field of ['cpus', 'priority', 'timeout_minuts', 'ramm']) {
      assert.ok(body.message.includes(`\`${field}\``), `${field} in ${body.message}`);
    }
    const { details } = body as { details: { fields?: { field: string }[] } };
    assert.deepEqual(details.fields?.map(({ field }) => field).sort(), [
      'cpus',
      'priority',
      'ramm',
      'timeout_minuts',
    ]);
    const { status, body: query } = await api.caller.json<ErrorAnswer>(
      'GET',
      '/jobs?limit=0&statsu=all&curser=x',
    );
    assert.equal(status, 400);
    for (const field of ['limit', 'statsu', 'curser']) {
      assert.ok(query.message.includes(`\`${field}\``), `${field} in ${query.message}`);
    }
  });

  it('takes a command of 10,000 bytes exactly', async () => {
    assert.equal((await send(JSON.stringify({ type: 'worker', command: 'x'.repeat(10_000) }))).status, 201);
  });

  it('does not let __proto__ through as a field', async () => {
    const before = ({} as Record<string, unknown>)['polluted'];
    await refused('{"type":"worker","command":"true","__proto__":{"polluted":1}}', {
      status: 400,
      code: 'invalid_request',
    });
    assert.equal(({} as Record<string, unknown>)['polluted'], before);
  });

  it('is answered in the one shape when it is no HTTP', async () => {
    for (const text of [
      head('Content-Length: 5\r\nContent-Length: 6\r\n') + '{}   ',
      head('Content-Length: 5\r\nTransfer-Encoding: chunked\r\n') + '{}   ',
      head('Content-Length: -1\r\n'),
      head('Transfer-Encoding: chunked\r\n') + 'zz\r\n{}\r\n',
      'nonsense\r\n\r\n',
      `GET /${'x'.repeat(100_000)} HTTP/1.1\r\nHost: x\r\n\r\n`,
    ]) {
      const answer = await raw(api.port, text);
      assert.ok([400, 431].includes(answer.status), `${answer.status} for ${text.slice(-60)}`);
      assert.equal((JSON.parse(answer.body) as ErrorAnswer).error, 'invalid_request');
      assert.match(answer.headers, /^connection: close$/im);
    }
  });

  it('survives a client that breaks off in the middle of a body', async () => {
    const socket = connect(api.port, '127.0.0.1');
    await new Promise((sent) => socket.write(`${head('Content-Length: 500\r\n')}{"type":`, sent));
    socket.destroy();
    const { status } = await api.caller.json('GET', '/capacity');
    assert.equal(status, 200);
  });

  it('makes no job of a body that ends early', async () => {
    const before = (await api.caller.json<{ total: number }>('GET', '/jobs')).body.total;
    const text = '{"type":"worker","command":"true"}';
    await assert.rejects(
      raw(api.port, `${head(`Content-Length: ${text.length + 1}\r\n`)}${text}`, { halfClose: true }).then(
        (answer) => {
          if (answer.status >= 400) throw new Error('refused, as good as closed');
        },
      ),
    );
    assert.equal((await api.caller.json<{ total: number }>('GET', '/jobs')).body.total, before);
  });
});
