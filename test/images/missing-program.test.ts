import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { missingProgram, missingProgramAdvice } from '../../src/images/missing-program.ts';

describe('a program that a log says is missing', () => {
  const said: readonly (readonly [string, string])[] = [
    ['/bin/sh: 1: cmake: not found', 'cmake'],
    ['sh: 12: tsc: not found', 'tsc'],
    ['bash: line 1: autoreconf: command not found', 'autoreconf'],
    ['./configure: line 42: pkg-config: command not found', 'pkg-config'],
    ['./test.sh: 3: ps: not found', 'ps'],
    ['/bin/sh: python3: not found', 'python3'],
    ['make: g++: No such file or directory', 'g++'],
    ['make[2]: x86_64-linux-gnu-gcc: No such file or directory', 'x86_64-linux-gnu-gcc'],
    ['env: ‘node’: No such file or directory', 'node'],
    ["/usr/bin/env: 'python': No such file or directory", 'python'],
    ['/usr/bin/env: node: No such file or directory', 'node'],
    ["timeout: failed to run command 'go': No such file or directory", 'go'],
    ['xargs: rsync: No such file or directory', 'rsync'],
    ['cgo: C compiler "gcc": exec: "gcc": executable file not found in $PATH', 'gcc'],
    ['error: linker `cc` not found', 'cc'],
    [
      'Can\'t exec "aclocal": No such file or directory at /usr/share/autoconf/Autom4te/FileUtils.pm line 274.',
      'aclocal',
    ],
    ['sudo: apt-get: command not found', 'apt-get'],
    ['bash: line 1: cmake: command not found\r', 'cmake'],
  ];
  for (const [line, program] of said)
    it(`is ${program} in: ${JSON.stringify(line)}`, () => {
      assert.equal(missingProgram(line), program);
    });

  for (const line of [
    'cat: src/main.c: No such file or directory',
    '/bin/sh: 1: ./configure: not found',
    'make: *** No rule to make target "all".  Stop.',
    'gcc: error: foo.c: No such file or directory',
    'test 3: not found',
    'checking for cmake... no',
    `sh: 1: ${'x'.repeat(1_000)}: not found`,
    '',
  ])
    it(`is none in: ${JSON.stringify(line.slice(0, 60))}`, () => {
      assert.equal(missingProgram(line), null);
    });

  const image = (name: string): { name: string; reference: string } => ({
    name,
    reference: `localhost/flashpods/${name}:latest`,
  });

  it('is answered with the images that have it', () => {
    assert.equal(
      missingProgramAdvice('node', image('base').reference, { images: [image('node')], buildable: [] }),
      'The image base has no `node`. This image has it: node.',
    );
    assert.match(
      missingProgramAdvice('ps', 'docker.io/library/debian:12', {
        images: [image('base'), image('node')],
        buildable: [],
      }) ?? '',
      /^The image docker.io\/library\/debian:12 has no `ps`. These images have it: base, node.$/,
    );
  });

  it('is answered with how to make an image that has it, or with the truth that none is known', () => {
    const { reference } = image('base');
    assert.match(
      missingProgramAdvice('cargo', reference, { images: [], buildable: [{ name: 'rust' }] }) ?? '',
      /No image here has it; `flashpods image build rust` on the host makes one/,
    );
    assert.match(
      missingProgramAdvice('tsc', reference, { images: [], buildable: [] }) ?? '',
      /No image here is known to have it/,
    );
  });

  it('is not missing where the image has it: then something else is wrong', () => {
    const base = image('base');
    assert.equal(missingProgramAdvice('gcc', base.reference, { images: [base], buildable: [] }), null);
  });
});
