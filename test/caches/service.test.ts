import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import type { CacheRemoval, HostCache } from '../../src/caches/cache.ts';
import { CacheService } from '../../src/caches/service.ts';
import type { RemovalOutcome } from '../../src/hosts/removal.ts';

const NEVER = new AbortController().signal;

const cache = (name: string, owner = 'anna', scope = 'default'): HostCache => ({
  ...{
    name,
    owner,
    scope,
    path: '/opt/x',
    sizeBytes: 1,
    writtenAt: 1,
    writtenBy: 'job_1',
    usedAt: 2,
    hits: 3,
  },
});

describe('the caches of all hosts', () => {
  const asked: unknown[] = [];
  const serviceOf = (outcome: RemovalOutcome = { state: 'removed' }): CacheService =>
    new CacheService({
      reports: () =>
        Promise.resolve(
          new Map([
            ['b', [cache('npm'), cache('npm', 'bert')]],
            ['a', [cache('npm', 'anna', 'pr-1'), cache('go'), cache('npm')]],
          ]),
        ),
      removals: {
        ask: (hosts, removal) => {
          asked.push([hosts, removal]);
          return Promise.resolve('x');
        },
        outcomes: () =>
          Promise.resolve(
            new Map([
              ['a', outcome],
              ['b', outcome],
            ]),
          ),
      },
    });

  it('are listed by name, scope and host, to their owner alone', async () => {
    const listed = (await serviceOf().list('anna')).map(
      ({ name, scope, host }) => `${name} ${scope} ${host}`,
    );
    assert.deepEqual(listed, ['go default a', 'npm default a', 'npm default b', 'npm pr-1 a']);
    assert.equal((await serviceOf().list(null)).length, 5);
  });

  it('go from the hosts that have them, of one scope or of all', async () => {
    const removal: CacheRemoval = { owner: 'anna', name: 'npm', scope: null };
    assert.deepEqual(await serviceOf().remove(removal, NEVER), ['a', 'b']);
    assert.deepEqual(await serviceOf().remove({ ...removal, scope: 'pr-1' }, NEVER), ['a']);
    assert.deepEqual(asked, [
      [['a', 'b'], removal],
      [['a'], { ...removal, scope: 'pr-1' }],
    ]);
    await assert.rejects(serviceOf().remove({ ...removal, name: 'pip' }, NEVER), { code: 'cache_not_found' });
    await assert.rejects(serviceOf().remove({ ...removal, owner: 'eve' }, NEVER), {
      code: 'cache_not_found',
    });
    const failing = serviceOf({ state: 'failed', reason: 'disk' });
    await assert.rejects(failing.remove(removal, NEVER), { code: 'container_error' });
  });
});
