import assert from 'node:assert/strict';
import { after, before, describe, it } from 'mocha';
import type { HostCache } from '../../src/caches/cache.ts';
import type { Caches } from '../../src/containers/caches.ts';
import type { Job } from '../../src/jobs/job.ts';
import { eventually } from '../support/eventually.ts';
import { type Farm, startFarm } from '../support/farm.ts';

const PLACE = '/opt/deps';

describe('jobs with caches', function () {
  this.timeout(300_000);
  let farm: Farm;
  let caches: Caches;
  before(async () => {
    farm = await startFarm({ minuteMs: 5_000, config: { jobDiskMb: 128, graceSeconds: 1 } });
    assert.ok(farm.runtime.caches);
    caches = farm.runtime.caches;
  });
  after(() => farm?.stop());

  const run = (command: string, mode: string, more: Record<string, unknown> = {}): Promise<Job> =>
    farm.run({ command, caches: [{ name: 'deps', path: PLACE, mode }], timeout_minutes: 120, ...more });
  const log = async ({ id }: Job): Promise<string> => (await farm.texts(id)).join('\n');
  const kept = (scope = 'default'): HostCache | undefined =>
    caches.list().find((cache) => cache.name === 'deps' && cache.scope === scope);
  /** The job's end does not wait for it. */
  const keptBy = ({ id }: Job, scope?: string): Promise<unknown> =>
    eventually(`what ${id} wrote is kept`, () => kept(scope)?.writtenBy === id, { timeoutMs: 60_000 });

  it('find what one that completed wrote, and what they change themselves is theirs', async () => {
    const first = await run(`mkdir ${PLACE}/d; echo 1 > ${PLACE}/d/f; echo $HOME`, 'write');
    assert.equal(await log(first), 'cache deps: cold\n/home/job');
    await keptBy(first);
    const second = await run(`echo 2 >> ${PLACE}/d/f; cat ${PLACE}/d/f`, 'read');
    assert.equal(await log(second), '1\n2');
    const failing = await run(`rm -r ${PLACE}/d; false`, 'write');
    assert.equal(failing.status, 'failed');
    const without = await run(`ls -A ${PLACE}; touch ${PLACE}/x`, 'none');
    assert.equal(await log(without), '');
    const third = await run(`cat ${PLACE}/d/f; rm ${PLACE}/d/f; echo 3 > ${PLACE}/d/g`, 'write');
    assert.equal(await log(third), '1');
    await keptBy(third);
    assert.equal(await log(await run(`cd ${PLACE}; find . -type f`, 'read')), './d/g');
    assert.equal(kept()?.hits, 4);
    const { hosts } = await farm.queues.queue.capacity();
    const said = await eventually('the host has said it', async () => {
      const reports = await farm.queues.caches.reports(farm.queues.queue);
      return reports.get(hosts[0]?.name ?? '')?.find(({ name, hits }) => name === 'deps' && hits === 4);
    });
    assert.equal(said.writtenBy, third.id);
  });

  it('of a scope read the default one’s, and write nothing that it reads', async () => {
    const release = await run(`echo good > ${PLACE}/s`, 'write');
    await keptBy(release);
    const theirs = await run(`echo bad >> ${PLACE}/s; cat ${PLACE}/s`, 'write', { cache_scope: 'pr-7' });
    assert.equal(await log(theirs), 'good\nbad');
    await keptBy(theirs, 'pr-7');
    assert.equal(await log(await run(`cat ${PLACE}/s`, 'read', { cache_scope: 'pr-7' })), 'good\nbad');
    assert.equal(await log(await run(`cat ${PLACE}/s`, 'read')), 'good');
    assert.equal(kept()?.writtenBy, release.id);
  });

  it('that are known have their place and their variables', async () => {
    const job = await farm.run({
      command:
        'echo $npm_config_cache $CARGO_HOME $GOCACHE; touch ~/.npm/x ~/.cargo/x; cat $APT_CONFIG | head -1',
      env: { CARGO_HOME: '/own' },
      caches: ['npm', 'cargo', 'go', 'apt'].map((name) => ({ name })),
    });
    assert.deepEqual((await farm.texts(job.id)).slice(-2), [
      '/home/job/.npm /own /home/job/.cache/go/build',
      'Dir::Cache::Archives "/var/cache/flashpods/apt/";',
    ]);
  });

  it('keep what was written when their worker ends between the end and the keeping', async () => {
    const publish = caches.publish.bind(caches);
    const begun = Promise.withResolvers<void>();
    caches.publish = async (_writing, _sandbox, _mount, signal) => {
      begun.resolve();
      await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
      signal.throwIfAborted();
    };
    const job = await run(`echo late > ${PLACE}/late`, 'write');
    assert.equal(job.status, 'completed', 'a terminal state waits for nothing');
    await begun.promise;
    caches.publish = publish;
    await farm.replaceWorker();
    await keptBy(job);
    await eventually('its sandbox is gone', async () => (await farm.runtime.sandboxes()).length === 0);
  });

  it('are asked for with a place that a cache can have', async () => {
    const refused = async (field: unknown, more: Record<string, unknown> = {}): Promise<string> => {
      const error: unknown = await farm.submit({ command: 'true', caches: field, ...more }).then(
        () => null,
        (thrown: unknown) => thrown,
      );
      assert.ok(error instanceof Error, JSON.stringify(field));
      return error.message;
    };
    assert.match(await refused([{ name: 'deps' }]), /needs a `path`; known by name alone: npm/);
    for (const path of [
      '/opt',
      '/etc/ssl',
      '/proc/self',
      '/opt/../etc/x',
      '/artifacts/x',
      'opt/x',
      '/home/job',
    ])
      await refused([{ name: 'x', path }]);
    await refused([{ name: 'npm' }, { name: 'npm' }]);
    await refused([{ name: 'npm' }, { name: 'x', path: '/home/job/.npm/x' }]);
    assert.match(await refused([{ name: 'x', path: '/work/x' }]), /needs a `\/work` that can be written to/);
    assert.match(
      await log(
        await run('touch /work/deps/x; ls /work', 'read', {
          writable: true,
          caches: [{ name: 'w', path: '/work/deps' }],
        }),
      ),
      /deps$/,
    );
  });
});
