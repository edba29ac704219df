import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { describe, it } from 'mocha';
import { execa } from 'execa';
import {
  describedImages,
  inputsOf,
  parseDescription,
  referenceOf,
  shortName,
} from '../../src/images/description.ts';

const IMAGES = new URL('../../images/', import.meta.url);

describe('the descriptions of our images', () => {
  it('are there for each that the specification names, with a summary and main programs', () => {
    const images = describedImages();
    for (const name of ['base', 'small', 'node', 'python', 'rust', 'go', 'java']) {
      const image = images.get(name);
      assert.ok(image, name);
      assert.equal(image.reference, `localhost/flashpods/${name}:latest`);
      assert.match(image.summary, /^\S.{10,120}$/, name);
      assert.ok(image.programs.length > 0, name);
    }
    assert.equal(images.has('service'), false);
  });

  it('know the keys that the script reads', () => {
    const { summary, programs } = parseDescription(
      'x',
      '# summary no\nsummary  One line\npackages a b\nprograms c=d  e=f\nprograms g++=h\nprogramsx y=z\n',
    );
    assert.deepEqual([summary, programs], ['One line', ['c', 'e', 'g++']]);
  });

  it('hash what an image is made of as the script does', async () => {
    for (const name of describedImages().keys()) {
      const { stdout } = await execa('bash', [
        '-c',
        'eval "$(grep "^inputs()" "$1/build")"; here=$1 architecture=amd64; inputs "$2"',
        'inputs',
        IMAGES.pathname,
        name,
      ]);
      assert.equal(inputsOf(name, 'amd64'), stdout);
    }
    assert.equal(inputsOf('no-such-image', 'amd64'), null);
  });

  it('are all read, and a directory without one is none', () => {
    const directories = readdirSync(IMAGES, { withFileTypes: true }).filter((entry) => entry.isDirectory());
    assert.equal(directories.length, describedImages().size + 1); // images/service
  });
});

describe('the name of an image', () => {
  it('is ours where it is bare and one of ours, and is left alone otherwise', () => {
    assert.equal(referenceOf('node'), 'localhost/flashpods/node:latest');
    assert.equal(referenceOf('base'), 'localhost/flashpods/base:latest');
    for (const other of [
      'node:24',
      'node:latest',
      'library/node',
      'docker.io/library/node',
      'localhost/node',
      'debian',
      'Node',
      'node@sha256:00',
      '../node',
      'service',
    ])
      assert.equal(referenceOf(other), other);
  });

  it('is shown short where it is ours', () => {
    assert.equal(shortName('localhost/flashpods/node:latest'), 'node');
    for (const other of [
      'localhost/flashpods/mine:latest',
      'localhost/flashpods/node:1',
      'docker.io/library/node:latest',
    ])
      assert.equal(shortName(other), other);
  });
});
