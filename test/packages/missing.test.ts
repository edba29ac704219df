import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { missingPart, missingPartAdvice } from '../../src/packages/missing.ts';

describe('a header or a library that a log says is missing', () => {
  const said: readonly (readonly [line: string, part: string, suggested: string])[] = [
    [
      'main.c:1:10: fatal error: readline/readline.h: No such file or directory',
      'readline/readline.h',
      'libreadline-dev',
    ],
    ["main.c:1:10: fatal error: 'zlib.h' file not found", 'zlib.h', 'zlib1g-dev'],
    ['lua.c:72:10: fatal error: readline.h: No such file or directory\r', 'readline.h', 'libreadline-dev'],
    ['a.cpp:3:10: fatal error: boost/asio.hpp: No such file or directory', 'boost/asio.hpp', 'libboost-dev'],
    ['a.c:1:10: fatal error: Python.h: No such file or directory', 'Python.h', 'python3-dev'],
    ['/usr/bin/ld: cannot find -lssl: No such file or directory', 'ssl', 'libssl-dev'],
    ['/usr/bin/ld: cannot find -lz', 'z', 'zlib1g-dev'],
    ['ld.lld: error: unable to find library -lbz2', 'bz2', 'libbz2-dev'],
    ['mold: fatal: library not found: ffi', 'ffi', 'libffi-dev'],
    ["No package 'libpq' found", 'libpq', 'libpq-dev'],
    ["Package 'openssl', required by 'virtual:world', not found", 'openssl', 'libssl-dev'],
    ['Package libcurl was not found in the pkg-config search path.', 'libcurl', 'libcurl4-openssl-dev'],
    [
      'meson.build:5:0: ERROR: Dependency "glib-2.0" not found, tried pkgconfig and cmake',
      'glib-2.0',
      'libglib2.0-dev',
    ],
    ['  Could NOT find ZLIB (missing: ZLIB_LIBRARY ZLIB_INCLUDE_DIR)', 'ZLIB', 'zlib1g-dev'],
    ['x.c:1:10: fatal error: magic.h: No such file or directory', 'magic.h', 'libmagic-dev'],
    ["No package 'libsodium' found", 'libsodium', 'libsodium-dev'],
  ];
  for (const [line, part, suggested] of said)
    it(`is in: ${JSON.stringify(line)}`, () => {
      const found = missingPart(line);
      assert.deepEqual([found?.name, found?.package], [part, suggested]);
    });

  for (const line of [
    'cat: src/main.c: No such file or directory',
    'checking for zlib.h... no',
    'all is well',
    'x'.repeat(9_000),
  ])
    it(`is none in: ${line.slice(0, 50)}`, () => {
      assert.equal(missingPart(line), null);
    });

  it('is answered with how to ask for the package, unless the job had it', () => {
    const part = missingPart('/usr/bin/ld: cannot find -lreadline');
    assert.ok(part);
    assert.equal(
      missingPartAdvice(part, []),
      'The image has no `readline`: `"packages": ["libreadline-dev"]` (`--packages libreadline-dev`) installs it before the command.',
    );
    assert.equal(missingPartAdvice(part, ['libreadline-dev']), null);
    assert.match(
      missingPartAdvice({ ...part, isKnown: false }, []) ?? '',
      /^The image has no `readline`\. If it is not the project's own/,
    );
  });
});
