import assert from 'node:assert/strict';
import { cp, mkdir, rename } from 'node:fs/promises';
import { beforeEach, describe, it } from 'mocha';
import { isCopy, isPlaceOf, markPlace, placeOf } from '../../src/files/place.ts';
import { scratch } from '../support/scratch.ts';

describe('the place of a directory', () => {
  const dir = scratch();
  let count = 0;
  let original = '';
  beforeEach(async () => {
    await dir.make();
    original = dir.path(`original-${++count}`);
    await mkdir(original);
  });

  it('is kept by a rename, and not by a copy', async () => {
    assert.equal(isCopy(original), false);
    markPlace(original);
    const copy = `${original}-copy`;
    await cp(original, copy, { recursive: true });
    assert.equal(isCopy(copy), true);
    await rename(original, `${original}-moved`);
    assert.equal(isCopy(`${original}-moved`), false);
  });

  it('is the same after a boot that gave its device another number, and in one boot it is not', () => {
    const [boot = '', device = '', own = ''] = placeOf(original)?.split(' ') ?? [];
    assert.ok(isPlaceOf(`${boot} ${device} ${own}`, original));
    assert.ok(isPlaceOf(`another ${Number(device) + 1} ${own}`, original));
    assert.ok(
      !isPlaceOf(`${boot} ${Number(device) + 1} ${own}`, original),
      'a snapshot that is mounted beside it',
    );
    assert.ok(!isPlaceOf(`another ${device} ${own}0`, original), 'a copy of before the boot');
    for (const wrong of [null, undefined, 7, '', own]) assert.ok(!isPlaceOf(wrong, original));
    assert.ok(!isPlaceOf(placeOf(original), `${original}-gone`));
  });
});
