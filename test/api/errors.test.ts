import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { Writable } from 'node:stream';
import { after, before, describe, it } from 'mocha';
import { pino } from 'pino';
import { digestOf } from '../../src/identity/token.ts';
import { type ErrorCode, ERRORS } from '../../src/errors.ts';
import type { Logger } from '../../src/observability/logger.ts';
import { into } from '../support/jobs.ts';
import { raw } from './raw-http.ts';
import { type RunningApi, startApi } from './running-api.ts';

/** A token at which the verifier itself breaks. */
const BREAKING = 'breaking-token-0123456789';

describe('errors of the API', () => {
  let api: RunningApi;
  const logged: string[] = [];

  before(async () => {
    const sink = new Writable({
      write(chunk: Buffer, _encoding, done) {
        logged.push(chunk.toString());
        done();
      },
    });
    const logger = pino({ level: 'error' }, sink) as unknown as Logger;
    api = await startApi({
      logger,
      tokens: (own) => ({
        find: (digest) =>
          digest.equals(digestOf(BREAKING))
            ? Promise.reject(new Error('secret of /etc/inside'))
            : own.find(digest),
      }),
    });
  });
  after(() => api.stop());

  it('have one shape, and hold the caller’s request id if it is sane', async () => {
    const answer = await api.caller.fetch('/nowhere', { headers: { 'x-request-id': 'abc-123' } });
    assert.equal(answer.status, 404);
    assert.equal(answer.headers.get('x-request-id'), 'abc-123');
    assert.deepEqual(await answer.json(), {
      error: 'not_found',
      message: ERRORS.not_found.meaning,
      details: {},
      request_id: 'abc-123',
      retryable: false,
    });
    const strange = await api.caller.fetch('/nowhere', { headers: { 'x-request-id': 'a b<script>' } });
    assert.match(strange.headers.get('x-request-id') ?? '', /^[0-9a-f-]{36}$/);
  });

  it('are problem details for clients that ask for those', async () => {
    const answer = await api.caller.fetch('/jobs/job_aaaaaaaaaaaa', {
      headers: { accept: 'application/problem+json' },
    });
    assert.equal(answer.status, 404);
    assert.match(answer.headers.get('content-type') ?? '', /^application\/problem\+json/);
    const problem = (await answer.json()) as Record<string, unknown>;
    assert.equal(problem['type'], 'urn:flashpods:error:job_not_found');
    assert.equal(problem['status'], 404);
    assert.equal(problem['title'], ERRORS.job_not_found.meaning);
    assert.match(String(problem['detail']), /job_aaaaaaaaaaaa/);
    assert.equal(problem['retryable'], false);
  });

  it('name the methods that a path takes', async () => {
    const { status, headers, body } = await api.caller.json('PUT', '/jobs');
    assert.equal(status, 405);
    assert.equal(body['error'], 'method_not_allowed');
    assert.deepEqual(headers.get('allow')?.split(', ').sort(), ['DELETE', 'GET', 'HEAD', 'POST']);
    const strange = await raw(
      api.port,
      `PROPFIND /jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${api.token}\r\n\r\n`,
    );
    assert.equal(strange.status, 405);
  });

  it('of ours say nothing but the request id, and are logged with their cause', async () => {
    logged.length = 0;
    const id = await api.caller.submit('true');
    await api.database.knex.schema.renameTable('artifacts', 'artifacts_gone');
    try {
      await api.store.transition(id, { from: ['queued'], ...into('cancelled'), actor: 'test' });
      const { status, body } = await api.caller.json('GET', `/jobs/${id}/artifacts`);
      assert.equal(status, 500);
      assert.ok(['internal_error', 'database_error'].includes(String(body['error'])));
      assert.deepEqual(body['details'], {});
      assert.ok(!JSON.stringify(body).includes('artifacts_gone'));
      assert.ok(!/select|SQLITE|no such table/i.test(JSON.stringify(body)));
      const line = logged.find((entry) => entry.includes(String(body['request_id'])));
      assert.match(line ?? '', /no such table/);
    } finally {
      await api.database.knex.schema.renameTable('artifacts_gone', 'artifacts');
    }
  });

  it('that nobody expected are internal errors without a word of what happened', async () => {
    logged.length = 0;
    const answer = await fetch(`${api.server.url}/jobs`, {
      headers: { authorization: `Bearer ${BREAKING}` },
    });
    assert.equal(answer.status, 500);
    const body = (await answer.json()) as Record<string, unknown>;
    assert.deepEqual(body, {
      error: 'internal_error',
      message: ERRORS.internal_error.meaning,
      details: {},
      request_id: answer.headers.get('x-request-id'),
      retryable: true,
    });
    assert.match(logged.join(''), /secret of \/etc\/inside/);
  });

  it('are all in docs/errors.md with their status, and nothing else is', async () => {
    const page = await readFile(new URL('../../docs/errors.md', import.meta.url), 'utf8');
    const rows = new Map(
      [...page.matchAll(/^\| `([a-z_]+)` \| ([^|]+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$/gm)].map((row) => [
        row[1] ?? '',
        row.slice(2).map((cell) => cell.trim()),
      ]),
    );
    assert.deepEqual([...rows.keys()].sort(), Object.keys(ERRORS).sort());
    for (const code of Object.keys(ERRORS) as ErrorCode[]) {
      const { status, retryable, meaning, advice } = ERRORS[code];
      assert.deepEqual(rows.get(code), [
        status === 0 ? '–' : String(status),
        retryable ? 'yes' : 'no',
        meaning,
        advice,
      ]);
    }
  });
});
