import assert from 'node:assert/strict';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { ID_RANGE_SIZE, idMap, userId, userIdIn } from '../../src/containers/podman/container/job-user.ts';

describe('the owner of a job’s files', () => {
  it('is the image’s user, by number where the image says one', () => {
    assert.deepEqual(['', 'root', '0', '0:5', '1000', '1000:1000', '65535'].map(userId), [
      ...[0, 0, 0, 0],
      ...[1000, 1000, 65535],
    ]);
    for (const name of ['node', 'node:staff', '-1', '1e3', '99999999999'])
      assert.equal(userId(name), null, name);
  });

  it('is looked up by name in the image, out of a tar as well', () => {
    const passwd = 'root:x:0:0:root:/root:/bin/sh\nnode:x:1000:1000::/home/node:/bin/sh\nbroken:x\n';
    assert.equal(userIdIn(passwd, 'node'), 1000);
    assert.equal(userIdIn(passwd, 'node:root'), 1000);
    assert.equal(userIdIn(`passwd\0\0ustar\0${passwd}`, 'root'), 0);
    for (const name of ['nobody', 'broken', 'nod', 'x']) assert.equal(userIdIn(passwd, name), 0, name);
  });

  it('has the first host id behind it, and every other id has one of its own', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: ID_RANGE_SIZE + 10 }), (owner) => {
        const behind = new Map<number, number>();
        for (const { container_id: inside, host_id: outside, size } of idMap(500_000, owner))
          for (let at = 0; at < size; at += 1) behind.set(inside + at, outside + at);
        assert.equal(behind.size, ID_RANGE_SIZE);
        assert.equal(new Set(behind.values()).size, ID_RANGE_SIZE);
        assert.ok([...behind.values()].every((id) => id >= 500_000 && id < 500_000 + ID_RANGE_SIZE));
        if (owner < ID_RANGE_SIZE) assert.equal(behind.get(owner), 500_000);
      }),
      { numRuns: 30, examples: [[0], [1], [ID_RANGE_SIZE - 1], [ID_RANGE_SIZE]] },
    );
  });
});
