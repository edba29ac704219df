import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { after, afterEach, before, beforeEach, describe, it } from 'mocha';
import { Database } from '../../src/database/database.ts';
import { KnexSessionStore } from '../../src/database/session-store.ts';
import { KnexTokenStore } from '../../src/database/token-store.ts';
import { SCOPES } from '../../src/identity/principal.ts';
import { SingleToken } from '../../src/identity/single-token.ts';
import { digestOf, newToken } from '../../src/identity/token.ts';
import { type NewTokenRequest, Tokens } from '../../src/identity/tokens.ts';
import { eventually } from '../support/eventually.ts';
import { silent } from '../support/redis.ts';
import { temporaryDirectory } from '../support/scratch.ts';

const FIRST = 'token-of-the-configuration';
const ADMIN = { tokenId: 'default', owner: 'default', scopes: new Set(['admin'] as const) };
const REQUEST: NewTokenRequest = { name: 'ci', owner: 'alice', scopes: ['jobs:read'], expiresAt: null };

describe('tokens', () => {
  let dir: Awaited<ReturnType<typeof temporaryDirectory>>;
  let database: Database;
  let tokens: Tokens;

  const open = (freshMs?: number): Tokens =>
    new Tokens({
      store: new KnexTokenStore(database),
      first: new SingleToken(FIRST),
      logger: silent,
      ...(freshMs === undefined ? {} : { freshMs }),
    });
  const holds = async (token: string, by = tokens): Promise<boolean> =>
    (await by.find(digestOf(token))) !== null;

  beforeEach(async () => {
    dir = await temporaryDirectory();
    database = await Database.open({ path: join(dir.path, 'flashpods.db') });
    tokens = open();
  });
  afterEach(async () => {
    await database.close();
    await dir.remove();
  });

  it('are found with owner and scopes, and nothing else is', async () => {
    const { plaintext } = await tokens.create({ ...REQUEST, scopes: ['uploads:write', 'jobs:read'] }, ADMIN);
    const principal = await tokens.find(digestOf(plaintext));
    assert.equal(principal?.owner, 'alice');
    assert.deepEqual([...principal.scopes], ['jobs:read', 'uploads:write']);
    for (const wrong of ['', 'x', plaintext.slice(1), `${plaintext}x`, plaintext.toUpperCase()])
      assert.equal(await holds(wrong), false, wrong);
  });

  it('are 256 random bits each', () => {
    const made = Array.from({ length: 1_000 }, newToken);
    assert.equal(new Set(made).size, 1_000);
    for (const token of made) assert.match(token, /^fp_[\w-]{43}$/);
  });

  it('leave no plaintext in database or log', async () => {
    const lines: string[] = [];
    const sink = new Writable({
      write(chunk: Buffer, _encoding, done) {
        lines.push(chunk.toString());
        done();
      },
    });
    const { pino } = await import('pino');
    const logged = new Tokens({
      store: new KnexTokenStore(database),
      first: new SingleToken(FIRST),
      logger: pino({ level: 'trace' }, sink),
    });
    const { plaintext } = await logged.create(REQUEST, ADMIN);
    await logged.find(digestOf(plaintext));
    await logged.revoke('ci', ADMIN);
    const files = await readdir(dir.path);
    assert.ok(files.some((file) => file.endsWith('-wal')));
    const stored = Buffer.concat(await Promise.all(files.map((file) => readFile(join(dir.path, file)))));
    assert.ok(stored.includes(digestOf(plaintext).toString('hex')), 'the files hold the row');
    assert.equal(lines.length, 2);
    for (const text of [stored.toString('latin1'), lines.join('')]) {
      assert.ok(!text.includes(plaintext));
      assert.ok(!text.includes(plaintext.slice(3)));
      assert.ok(!text.includes(FIRST));
    }
  });

  it('end at once in the process that revokes, and soon in every other', async () => {
    const other = open();
    const { plaintext } = await tokens.create(REQUEST, ADMIN);
    assert.equal(await holds(plaintext), true);
    assert.equal(await holds(plaintext, other), true);
    await tokens.revoke('ci', ADMIN);
    assert.equal(await holds(plaintext), false);
    await eventually('the other one knows', async () => !(await holds(plaintext, other)));
  });

  it('end when their time is over, also where they were found good a moment before', async () => {
    const slow = open(60_000);
    const { plaintext } = await tokens.create({ ...REQUEST, expiresAt: Date.now() + 300 }, ADMIN);
    assert.equal(await holds(plaintext, slow), true);
    await eventually('it is over', async () => !(await holds(plaintext, slow)), { timeoutMs: 2_000 });
    assert.deepEqual(
      (await tokens.list()).map(({ name }) => name),
      ['ci'],
    );
    await assert.rejects(tokens.create({ ...REQUEST, name: 'past', expiresAt: Date.now() - 1 }, ADMIN), {
      code: 'invalid_request',
    });
  });

  it('have names of their own, which are free again once revoked', async () => {
    const { plaintext: first } = await tokens.create(REQUEST, ADMIN);
    await assert.rejects(tokens.create(REQUEST, ADMIN), { code: 'invalid_request' });
    await tokens.revoke('ci', ADMIN);
    await assert.rejects(tokens.revoke('ci', ADMIN), { code: 'not_found' });
    const { plaintext: second } = await tokens.create({ ...REQUEST, owner: 'bob' }, ADMIN);
    assert.equal(await holds(first), false);
    assert.equal((await tokens.find(digestOf(second)))?.owner, 'bob');
  });

  it('are listed by name without what opens anything', async () => {
    await tokens.create({ ...REQUEST, name: 'b', scopes: [...SCOPES] }, ADMIN);
    const { plaintext } = await tokens.create({ ...REQUEST, name: 'a' }, ADMIN);
    const list = await tokens.list();
    assert.deepEqual(
      list.map(({ name, scopes, createdBy }) => [name, scopes.length, createdBy]),
      [
        ['a', 1, 'default'],
        ['b', 4, 'default'],
      ],
    );
    const text = JSON.stringify(list);
    assert.ok(!text.includes(plaintext) && !text.includes(digestOf(plaintext).toString('hex')));
  });

  it('are not without number', async () => {
    const store = new KnexTokenStore(database);
    const make = (name: string): Promise<void> =>
      store.create(
        { ...REQUEST, id: `token_${name}`, name, createdAt: 0, createdBy: 'x' },
        digestOf(name),
        2,
      );
    await make('a');
    await make('b');
    await assert.rejects(make('c'), { code: 'quota_exceeded' });
    await store.revoke('a');
    await make('c');
    assert.equal(await store.byDigest(digestOf('a')), null);
  });

  it('are not taken for good when the database can’t be asked, and the one of the configuration still is', async () => {
    const { plaintext } = await tokens.create(REQUEST, ADMIN);
    await database.knex.schema.renameTable('tokens', 'away');
    await assert.rejects(tokens.find(digestOf(plaintext)), { code: 'database_error' });
    assert.equal((await tokens.find(digestOf(FIRST)))?.tokenId, 'default');
    await database.knex.schema.renameTable('away', 'tokens');
    assert.equal(await holds(plaintext), true, 'a failure is not remembered');
  });
});

describe('sessions', () => {
  let dir: Awaited<ReturnType<typeof temporaryDirectory>>;
  let database: Database;
  let store: KnexSessionStore;

  before(async () => {
    dir = await temporaryDirectory();
    database = await Database.open({ path: join(dir.path, 'flashpods.db') });
    store = new KnexSessionStore(database);
  });
  after(async () => {
    await database.close();
    await dir.remove();
  });

  const session = (lifeMs: number) => ({
    tokenDigest: digestOf('token'),
    host: 'a.example:8080',
    expiresAt: Date.now() + lifeMs,
  });

  it('are found until they are removed or over, and the oldest make room', async () => {
    const [a, b, c] = ['a', 'b', 'c'].map(digestOf) as [Buffer, Buffer, Buffer];
    await store.add(a, session(60_000), 2);
    const found = await store.find(a);
    assert.equal(found?.host, 'a.example:8080');
    assert.ok(found.tokenDigest.equals(digestOf('token')));
    await store.add(b, session(61_000), 2);
    await store.add(c, session(62_000), 2);
    assert.deepEqual([await store.find(a), Boolean(await store.find(b))], [null, true]);
    await store.remove(b);
    assert.equal(await store.find(b), null);
    await store.add(a, session(100), 2);
    assert.ok(await store.find(a));
    await eventually('it is over', async () => (await store.find(a)) === null, { timeoutMs: 2_000 });
    await store.add(b, session(60_000), 3);
    assert.equal((await database.knex('sessions').select('*')).length, 2, 'the expired one is gone');
  });
});
