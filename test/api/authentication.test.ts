import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';
import { after, before, describe, it } from 'mocha';
import type { Principal, TokenVerifier } from '../../src/identity/principal.ts';
import { digestOf } from '../../src/identity/token.ts';
import { type RunningApi, startApi } from './running-api.ts';

const ALICE = 'alice-token-0123456789';
const BOB = 'bob-token-0123456789';
const READER = 'reader-token-0123456789';

/** Several holders beside the single token, as a later verifier will know them. */
class Holders implements TokenVerifier {
  readonly #own: TokenVerifier;
  readonly revoked = new Set<string>();
  readonly #holders: Record<string, Principal> = {
    [ALICE]: { tokenId: 'a', owner: 'alice', scopes: new Set(['jobs:read', 'jobs:write', 'uploads:write']) },
    [BOB]: { tokenId: 'b', owner: 'bob', scopes: new Set(['jobs:read', 'jobs:write', 'uploads:write']) },
    [READER]: { tokenId: 'r', owner: 'alice', scopes: new Set(['jobs:read']) },
  };

  constructor(own: TokenVerifier) {
    this.#own = own;
  }

  asked = 0;

  async find(digest: Buffer): Promise<Principal | null> {
    this.asked += 1;
    const held = Object.entries(this.#holders).find(([token]) => digestOf(token).equals(digest));
    if (held) return this.revoked.has(held[0]) ? null : held[1];
    return this.#own.find(digest);
  }
}

describe('authentication', () => {
  let api: RunningApi;
  let holders: Holders;
  let queueTakesMs = 0;

  before(async () => {
    api = await startApi({
      tokens: (own) => (holders = new Holders(own)),
      queue: (own) => ({
        enqueue: (job) => own.enqueue(job),
        withdraw: (id) => own.withdraw(id),
        waits: (jobs) => own.waits(jobs),
        usage: () => own.usage(),
        capacity: async () => {
          await delay(queueTakesMs);
          return own.capacity();
        },
      }),
    });
  });
  after(() => api.stop());

  const as = async (
    authorization: string | null,
    method: string,
    path: string,
    body?: unknown,
  ): Promise<{ status: number; headers: Headers; body: Record<string, unknown> }> => {
    const answer = await fetch(`${api.server.url}${path}`, {
      method,
      headers: {
        ...(authorization === null ? {} : { authorization }),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    return {
      status: answer.status,
      headers: answer.headers,
      body: (await answer.json().catch(() => ({}))) as Record<string, unknown>,
    };
  };

  it('is asked for on everything but health, document and docs', async () => {
    for (const path of ['/health', '/openapi.json', '/docs'])
      assert.equal((await as(null, 'GET', path)).status, 200, path);
    const closed: [method: string, path: string][] = [
      ['GET', '/jobs'],
      ['POST', '/jobs'],
      ['GET', '/jobs/job_aaaaaaaaaaaa'],
      ['DELETE', '/jobs/job_aaaaaaaaaaaa'],
      ['GET', '/jobs/job_aaaaaaaaaaaa/output'],
      ['GET', '/jobs/job_aaaaaaaaaaaa/artifacts'],
      ['GET', '/jobs/job_aaaaaaaaaaaa/artifacts/x'],
      ['POST', '/uploads'],
      ['PUT', '/uploads/upload_aaaaaaaaaaaa/files'],
      ['GET', '/capacity'],
      ['GET', '/queues'],
      ['GET', '/queues/api/queues'],
      ['GET', '/queues/static/favicon.ico'],
      ['GET', '/nowhere'],
      ['POST', '/health'],
      ['GET', '/health/'],
      ['GET', '//health'],
      ['GET', '/docs/../jobs'],
    ];
    for (const [method, path] of closed) {
      const { status, headers, body } = await as(null, method, path);
      assert.equal(status, 401, `${method} ${path}`);
      assert.equal(body['error'], 'missing_authorization');
      assert.match(headers.get('www-authenticate') ?? '', /^Bearer/);
    }
  });

  it('tells a malformed header from a wrong token', async () => {
    for (const header of [
      'Basic eDp5',
      'Bearer',
      'Bearer ',
      `Token ${api.token}`,
      `Bearer ${api.token} x`,
      api.token,
    ]) {
      assert.equal((await as(header, 'GET', '/jobs')).body['error'], 'malformed_authorization', header);
    }
    for (const header of ['Bearer x', `Bearer ${api.token}x`, `Bearer ${api.token.slice(1)}`]) {
      const { status, body } = await as(header, 'GET', '/jobs');
      assert.equal(status, 401);
      assert.equal(body['error'], 'invalid_token', header);
    }
    assert.equal((await as(`bearer  ${api.token}`, 'GET', '/jobs')).status, 200);
  });

  it('looks at a token once for a request that only answers, and again and again for one that waits', async () => {
    const created = await as(`Bearer ${api.token}`, 'POST', '/jobs', { type: 'worker', command: 'true' });
    const asked = async (path: string): Promise<number> => {
      const before = holders.asked;
      assert.equal((await as(`Bearer ${api.token}`, 'GET', path)).status, 200);
      return holders.asked - before;
    };
    queueTakesMs = 1_300;
    assert.equal(await asked('/capacity'), 1);
    queueTakesMs = 0;
    assert.ok((await asked(`/jobs/${String(created.body['job_id'])}?wait=2`)) >= 3);
    await as(`Bearer ${api.token}`, 'DELETE', `/jobs/${String(created.body['job_id'])}`);
  });

  it('takes no token from the query', async () => {
    assert.equal((await as(null, 'GET', `/jobs?token=${api.token}`)).status, 401);
  });

  it('shows an owner its own things, and somebody else’s as missing', async () => {
    const created = await as(`Bearer ${ALICE}`, 'POST', '/jobs', { type: 'worker', command: 'true' });
    const path = `/jobs/${String(created.body['job_id'])}`;
    const upload = await as(`Bearer ${ALICE}`, 'POST', '/uploads', {});
    const uploadPath = `/uploads/${String(upload.body['upload_id'])}`;
    assert.equal((await as(`Bearer ${ALICE}`, 'GET', path)).status, 200);
    assert.equal((await as(`Bearer ${api.token}`, 'GET', path)).status, 200);
    for (const [method, hidden] of [
      ['GET', path],
      ['DELETE', path],
      ['GET', `${path}/output`],
      ['GET', `${path}/artifacts`],
      ['GET', uploadPath],
      ['DELETE', uploadPath],
      ['POST', `${uploadPath}/finalize`],
    ] as const) {
      assert.equal((await as(`Bearer ${BOB}`, method, hidden)).status, 404, `${method} ${hidden}`);
    }
    assert.equal((await as(`Bearer ${BOB}`, 'GET', '/jobs')).body['total'], 0);
    assert.equal((await as(`Bearer ${ALICE}`, 'GET', '/jobs')).body['total'], 1);
  });

  it('names the scope that a token lacks', async () => {
    const { status, body } = await as(`Bearer ${READER}`, 'POST', '/jobs', {
      type: 'worker',
      command: 'true',
    });
    assert.equal(status, 403);
    assert.equal(body['error'], 'insufficient_scope');
    assert.deepEqual(body['details'], { scope: 'jobs:write' });
    assert.equal((await as(`Bearer ${READER}`, 'GET', '/jobs')).status, 200);
    assert.equal((await as(`Bearer ${ALICE}`, 'GET', '/queues')).status, 403);
  });
});
