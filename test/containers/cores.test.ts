import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { chooseCores, coresOf } from '../../src/containers/podman/cgroups/cores.ts';

describe('the cores of a job', () => {
  it('are read as the kernel writes them', () => {
    assert.deepEqual(coresOf('0-2,5\n'), [0, 1, 2, 5]);
    assert.deepEqual([coresOf('3'), coresOf('')], [[3], []]);
  });

  it('are as many as it has cpus, those with the fewest users first, and shared when there are no others', () => {
    const all = [0, 1, 2, 3];
    assert.deepEqual(chooseCores(all, [], 2), [0, 1]);
    assert.deepEqual(chooseCores(all, [[0, 1], [2]], 1.5), [0, 3]);
    assert.deepEqual(chooseCores(all, [all, [1]], 1), [0]);
    assert.deepEqual(chooseCores(all, [], 9), all);
    assert.deepEqual(chooseCores([], [], 2), []);
  });
});
