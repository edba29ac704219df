import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, it } from 'mocha';
import { SEED } from '../support/seed.ts';
import { WireClient } from './contract/client.ts';
import { Document, type DocumentedOperation } from './contract/document.ts';
import { Driver } from './contract/driver.ts';
import { createWorld, type World } from './contract/world.ts';

const REQUESTS = 20_000;
const CONCURRENCY = 24;
/** A minute on a quiet machine. */
const TIME_LIMIT_MS = 600_000;

/** Documented statuses that no request and no outage brings about, and why. */
const UNREACHABLE: Readonly<Record<string, string>> = {
  'getOpenApi 500': 'is answered from memory; nothing behind it can fail',
  'getDocs 500': 'is answered from memory; nothing behind it can fail',
  'getCapacity 500': 'reads Redis alone, and answers 503 for any failure there',
  'getHealth 500': 'reports any failure behind it, as 503',
};

/** The running server, driven by a program that has its OpenAPI document and nothing else. */
describe('the contract in /openapi.json', () => {
  let world: World;
  let document: Document;
  let client: WireClient;
  let driver: Driver;

  before(async () => {
    world = await createWorld();
    document = new Document(await (await fetch(`${world.api.server.url}/openapi.json`)).text());
    client = new WireClient(world.api.port);
    driver = new Driver(document, world, client, SEED);
  });
  after(async () => {
    client.close();
    await world.api.stop();
  });

  const operation = (id: string): DocumentedOperation => {
    const found = document.operations.find(({ operationId }) => operationId === id);
    assert.ok(found, id);
    return found;
  };
  const assertNoFailures = (): void => {
    const failures = driver.failures.splice(0);
    const shown = failures.slice(0, 8).map((failure) => JSON.stringify(failure, null, 2));
    assert.equal(failures.length, 0, `seed ${SEED}\n${shown.join('\n')}`);
  };

  it(`holds for ${REQUESTS} generated requests, of which at least 30 % succeed`, async function () {
    this.timeout(TIME_LIMIT_MS);
    const begun = performance.now();
    await driver.run(REQUESTS, CONCURRENCY);
    const seconds = (performance.now() - begun) / 1_000;
    const share = driver.succeeded / driver.sent;
    console.log(
      `      seed ${SEED}: ${driver.sent} requests in ${seconds.toFixed(1)} s, ${(share * 100).toFixed(1)} % answered 2xx`,
    );
    assertNoFailures();
    assert.ok(driver.sent >= REQUESTS);
    assert.ok(share >= 0.3, `${share}`);
  });

  it('holds for what needs a certain moment, or more luck', async () => {
    await driver.send(operation('getHealth'), 'noise');
    for (const each of document.operations) {
      if (each.responses['413']) await driver.send(each, 'large');
    }
    const again = { type: 'worker', command: 'true', client_job_id: randomUUID() };
    for (let n = 0; n < 2; n += 1) await driver.send(operation('createJob'), 'valid', again);
    await driver.send(operation('finalizeUpload'), 'valid', {}, world.tooLarge);
    // While the owner may have no more jobs waiting than it has.
    const { caller } = world.api;
    const limits = { limits: { queued_jobs: 0 } };
    assert.equal((await caller.json('PUT', '/tenants/default', limits)).status, 200);
    await driver.send(operation('checkJob'), 'valid', { type: 'worker', command: 'true' });
    await caller.json('PUT', '/tenants/default', { limits: { queued_jobs: null } });
    for (let n = 0; n < 1_200 && !driver.reached.has('createToken 409'); n += 1) {
      const token = { name: `n${n}`, owner: 'o', scopes: ['jobs:read'] };
      await driver.send(operation('createToken'), 'valid', token);
    }
    for (let n = 0; n < 500 && !driver.reached.has('getArtifact 206'); n += 1) {
      await driver.send(operation('getArtifact'), 'valid', undefined, undefined, { Range: 'bytes=0-3' });
    }
    for (const each of document.operations) {
      const statuses = Object.keys(each.responses).filter((status) => !['500', '503'].includes(status));
      for (const status of statuses) await driver.search(each, status);
    }
    assertNoFailures();
  });

  it('holds while Redis is away', async () => {
    // Those that could be removed were.
    for (const name of world.hostNames)
      await world.api.hosts.register(name, { cpusMilli: 4_000, memoryMib: 8_192 });
    await world.api.redis.halt();
    driver.tolerated = [503];
    const rejecting = { type: 'worker', command: 'true', cpus: 1, memory_gb: 1, when_busy: 'reject' };
    await driver.send(operation('createJob'), 'valid', rejecting);
    for (const each of document.operations) if (each.responses['503']) await driver.search(each, '503');
    assertNoFailures();
  });

  it('holds while the database is away', async () => {
    await world.api.database.close();
    driver.tolerated = [500, 503];
    for (const each of document.operations) {
      if (UNREACHABLE[`${each.operationId} 500`] === undefined) await driver.search(each, '500');
    }
    assertNoFailures();
  });

  it('leaves no documented status unreached, but for those that nothing can bring about', () => {
    const unreached = document.operations
      .flatMap(({ operationId, responses }) =>
        Object.keys(responses).map((status) => `${operationId} ${status}`),
      )
      .filter((each) => !driver.reached.has(each));
    assert.deepEqual(unreached.sort(), Object.keys(UNREACHABLE).sort(), `seed ${SEED}`);
  });
});
