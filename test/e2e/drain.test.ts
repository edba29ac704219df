import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { after, before, describe, it } from 'mocha';
import { eventually } from '../support/eventually.ts';
import { Caller } from '../support/http.ts';
import { type Stack, startStack } from '../support/stack.ts';

const FLASHPODS = fileURLToPath(new URL('../../bin/flashpods.ts', import.meta.url));
const FIRST = { name: 'first', cpus: 2, memoryGb: 4 };
const SECOND = { name: 'second', cpus: 2, memoryGb: 4 };

interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** With the command line, as the operator of a farm does it. */
describe('draining a host', () => {
  let stack: Stack;
  before(async () => {
    stack = await startStack({
      workers: [FIRST, SECOND],
      env: { FLASHPODS_HOST_LOST_SECONDS: '3', FLASHPODS_LEASE_SECONDS: '3', FLASHPODS_JOB_DISK_MB: '64' },
    });
  });
  after(async () => {
    await (stack as Stack | undefined)?.stop();
  });

  const flashpods = (...args: readonly string[]): Promise<Ended> =>
    new Promise((resolve) => {
      const env = { ...process.env, ...stack.env, FLASHPODS_URL: stack.caller.url };
      execFile(process.execPath, [FLASHPODS, ...args], { env }, (error, stdout, stderr) =>
        resolve({ code: error ? Number(error.code) : 0, stdout, stderr }),
      );
    });
  const stateOf = async (name: string): Promise<string | undefined> => {
    const { body } = await stack.caller.json<{ hosts: { name: string; state: string }[] }>(
      'GET',
      '/capacity',
    );
    return body.hosts.find((host) => host.name === name)?.state;
  };
  const hostOf = async (id: string): Promise<unknown> => (await stack.caller.job(id))['host'];

  it('waits until its jobs have ended, and sends it nothing new', async () => {
    // Larger than half a host, so that each of two goes to another one.
    const long = await Promise.all(
      ['a', 'b'].map((name) =>
        stack.caller.submit(`while [ ! -e /tmp/${name}-never ]; do sleep 0.1; done`, { cpus: 2 }),
      ),
    );
    await eventually('both run', async () =>
      (await Promise.all(long.map((id) => stack.caller.job(id)))).every((job) => job.status === 'running'),
    );
    const [on] = await Promise.all(long.map(async (id) => ({ id, host: await hostOf(id) })));
    assert.ok(on);
    const { host } = on;
    const other = [FIRST, SECOND].find(({ name }) => name !== host)?.name ?? '';
    const draining = flashpods('drain', String(host), '--json');
    await eventually('it drains', async () => (await stateOf(String(host))) === 'draining');
    const { body } = await stack.caller.json<{ jobs: { id: string }[]; empty: boolean }>(
      'GET',
      `/hosts/${String(host)}`,
    );
    assert.deepEqual([body.jobs.map(({ id }) => id), body.empty], [[on.id], false]);
    const waiting = await stack.caller.submit('true', { cpus: 2 });
    for (const id of long) await stack.caller.json('DELETE', `/jobs/${id}`);
    const { code, stdout, stderr } = await draining;
    assert.equal(code, 0, stderr);
    assert.equal((JSON.parse(stdout) as { empty: boolean }).empty, true);
    assert.match(stderr, new RegExp(on.id));
    assert.equal((await stack.caller.ended(waiting)).status, 'completed');
    assert.equal(await hostOf(waiting), other);
    assert.equal((await flashpods('undrain', String(host))).code, 0);
    await eventually('it takes work again', async () => (await stateOf(String(host))) === 'up');
  });

  it('returns at once with --no-wait, and holds over a new worker and an emptied Redis', async () => {
    assert.equal((await flashpods('drain', FIRST.name, '--no-wait')).code, 0);
    await stack.worker(FIRST.name).end();
    await stack.startWorker(FIRST);
    assert.equal(await stateOf(FIRST.name), 'draining');
    await stack.queues.connection.flushall();
    await eventually(
      'both hosts are back',
      async () => (await Promise.all([stateOf(FIRST.name), stateOf(SECOND.name)])).join() === 'draining,up',
    );
    const id = await stack.caller.submit('true');
    assert.equal((await stack.caller.ended(id)).status, 'completed');
    assert.equal(await hostOf(id), SECOND.name);
    assert.equal((await flashpods('undrain', FIRST.name)).code, 0);
    assert.equal(await stateOf(FIRST.name), 'up');
  });

  it('names the hosts there are for one that is not known', async () => {
    const { code, stderr } = await flashpods('drain', 'nobody');
    assert.equal(code, 4);
    assert.match(stderr, /Known are first, second/);
  });

  it('removes one that will not come back, and none whose worker lives', async () => {
    const refused = await flashpods('drain', FIRST.name, '--remove');
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /host_in_use/);
    await stack.worker(FIRST.name).end('SIGKILL');
    await eventually('its lease is over', async () =>
      ['suspect', 'lost'].includes((await stateOf(FIRST.name)) ?? ''),
    );
    assert.equal((await flashpods('drain', FIRST.name, '--remove')).code, 0);
    assert.equal(await stateOf(FIRST.name), undefined);
    assert.equal((await stack.caller.json('GET', `/hosts/${FIRST.name}`)).status, 404);
    const { keys } = stack.queues;
    assert.deepEqual(await stack.queues.connection.keys(`${keys.prefix}:*${FIRST.name}*`), []);
  });

  it('is refused without the scope admin', async () => {
    const made = await stack.caller.json('POST', '/tokens', {
      name: 'w',
      owner: 'x',
      scopes: ['jobs:write'],
    });
    const other = new Caller(stack.caller.url, String(made.body['token']));
    const { status } = await other.json('POST', `/hosts/${SECOND.name}/drain`);
    assert.equal(status, 403);
  });

  it('two hosts on one machine are refused unless both were told their part, with the name of the other', async () => {
    const third = stack.launchWorker(
      { name: 'third', cpus: 1, memoryGb: 1 },
      { env: { FLASHPODS_CPUS: '', FLASHPODS_MEMORY_GB: '' } },
    );
    assert.equal((await third.exited).code, 2);
    const said = await readFile(join(stack.dir, 'worker-third.out'), 'utf8');
    assert.match(said, /host second runs on this machine already/);
    assert.match(said, /FLASHPODS_CPUS and FLASHPODS_MEMORY_GB/);
    assert.equal((await stack.caller.json('GET', '/hosts/third')).status, 404);
    await stack.startWorker({ name: 'third', cpus: 1, memoryGb: 1 });
  });
});
