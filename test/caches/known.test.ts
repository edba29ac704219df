import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { cachesInForce, KNOWN_CACHES, readCache, scopeOf, toldOf } from '../../src/caches/known.ts';

describe('a cache that a person names', () => {
  it('is a name, a place and a mode, of which the last two may be left out', () => {
    const read: Readonly<Record<string, unknown>> = {
      npm: { name: 'npm' },
      'npm:write': { name: 'npm', mode: 'write' },
      'cargo:/home/job/.cargo': { name: 'cargo', path: '/home/job/.cargo' },
      'deps:/opt/deps:none': { name: 'deps', path: '/opt/deps', mode: 'none' },
      ':write': null,
      'npm:rite': null,
      'npm:write:read': null,
      '': null,
    };
    for (const [text, cache] of Object.entries(read)) assert.deepEqual(readCache(text), cache, text);
  });

  it('has its place by name alone if it is known, and is read unless it says more', () => {
    assert.deepEqual(cachesInForce([{ name: 'npm' }]), [
      { name: 'npm', path: KNOWN_CACHES['npm']?.path, mode: 'read' },
    ]);
  });

  it('tells its tool where it is, also at another place, and no tool of a name that is not known', () => {
    assert.deepEqual(toldOf(cachesInForce([{ name: 'go', path: '/opt/go' }])).env, {
      GOMODCACHE: '/opt/go/mod',
      GOCACHE: '/opt/go/build',
    });
    const none = cachesInForce([{ name: 'constructor', path: '/opt/x' }]);
    assert.deepEqual(toldOf(none), { env: {}, files: {} });
  });

  it('is of the scope that is said, else of an agent’s branch, else of the default one', () => {
    assert.equal(scopeOf({ cacheScope: 'pr-1', gitBranch: 'fix' }), 'pr-1');
    assert.equal(scopeOf({ cacheScope: null, gitBranch: 'fix' }), 'fix');
    assert.equal(scopeOf({ cacheScope: null, gitBranch: null }), 'default');
  });
});
