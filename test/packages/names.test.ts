import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { jobLimits } from '../../src/jobs/description/limits.ts';
import { hashSpec, parseCreateJob, toJobSpec } from '../../src/jobs/request.ts';
import { nearest } from '../../src/packages/nearest.ts';

const limits = jobLimits({ workerImage: 'base' });
const specOf = (packages: unknown) =>
  toJobSpec(
    parseCreateJob({ type: 'worker', command: 'make', ...(packages === undefined ? {} : { packages }) }),
    limits,
  );

describe('packages of a request', () => {
  for (const packages of [
    ['libreadline-dev'],
    ['g++', 'libstdc++6', '0ad', 'x11-apps', 'libglib2.0-dev'],
    ['tree=2.1.0-1', 'nodejs=18.19.0+dfsg-6~deb12u2', 'git=1:2.39.5-0+deb12u2'],
    [],
  ])
    it(`may be ${JSON.stringify(packages)}`, () => {
      assert.deepEqual(specOf(packages).packages, [...packages].sort());
    });

  for (const wrong of [
    ['-oDebug=1'],
    ['--purge'],
    ['/tmp/x.deb'],
    ['./x.deb'],
    ['Tree'],
    ['a'],
    ['libc6:i386'],
    ['tree/unstable'],
    ['tree hello'],
    ['tree;id'],
    ['tree\n'],
    ['tree=2.1-'],
    ['tree=-o'],
    ['tree='],
    ['*'],
    ['trée'],
    ['x'.repeat(101)],
    ['tree=1', 'tree=2'],
    ['tree', 'tree=2'],
    [''],
    [1],
    'tree',
    { tree: true },
    null,
    Array.from({ length: 101 }, (_, index) => `tree${index}`),
  ])
    it(`may not be ${JSON.stringify(wrong).slice(0, 60)}`, () => {
      assert.throws(() => specOf(wrong), { code: 'invalid_packages' });
    });

  it('are the same in any order and with repetitions, and without any the request is an old one', () => {
    assert.equal(hashSpec(specOf(['tree', 'hello'])), hashSpec(specOf(['hello', 'tree', 'hello'])));
    assert.notEqual(hashSpec(specOf(['tree'])), hashSpec(specOf(['hello'])));
    const { packages: _packages, ...older } = specOf(undefined);
    assert.equal(hashSpec(specOf([])), hashSpec(older as ReturnType<typeof specOf>));
  });
});

describe('the nearest names', () => {
  const known = [
    'libreadline-dev',
    'libreadline8',
    'readline-common',
    'tree',
    'tre-agrep',
    'build-essential',
    'tree',
  ];
  it('are those with most pairs of letters in common, each once', () => {
    assert.deepEqual(nearest('readline-dev', known)[0], 'libreadline-dev');
    assert.deepEqual(nearest('build-esential', known), ['build-essential']);
    assert.deepEqual(nearest('tre', known), ['tree', 'tre-agrep']);
    assert.deepEqual(nearest('qqqq', known), []);
  });
});
