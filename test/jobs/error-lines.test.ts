import assert from 'node:assert/strict';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { errorLines } from '../../src/jobs/error-lines.ts';

const numbered = (log: string) => log.split('\n').map((text, i) => ({ seq: i + 1, text }));
const found = (log: string, max?: number): string[] =>
  errorLines(numbered(log), max).lines.map(({ text }) => text);

describe('the lines of a log that look like the error', () => {
  it('are a C compiler’s message with the source it shows, not the command line or the notes', () => {
    const log = `cc -O2 -Wall -Werror -c -o main.o src/main.c
src/main.c: In function ‘main’:
src/main.c:1:20: error: ‘x’ undeclared (first use in this function)
    1 | int main(){ return x; }
      |                    ^
src/main.c:1:20: note: each undeclared identifier is reported only once
make: *** [Makefile:17: main.o] Error 1`;
    assert.deepEqual(found(log), [
      'src/main.c:1:20: error: ‘x’ undeclared (first use in this function)',
      '    1 | int main(){ return x; }',
      'make: *** [Makefile:17: main.o] Error 1',
    ]);
  });

  it('are a linker’s', () => {
    assert.deepEqual(
      found("/usr/bin/ld: a.o: in function `main':\na.c:(.text+0x5): undefined reference to `f'"),
      ["a.c:(.text+0x5): undefined reference to `f'"],
    );
  });

  it('are a Rust compiler’s message and its place, not the summary alone', () => {
    const log = `   Compiling app v0.1.0
error[E0425]: cannot find value \`y\` in this scope
 --> src/main.rs:2:20
  |
2 |     println!("{}", y);
  |                    ^ not found in this scope

error: could not compile \`app\` (bin "app") due to 1 previous error`;
    assert.deepEqual(found(log), [
      'error[E0425]: cannot find value `y` in this scope',
      ' --> src/main.rs:2:20',
      'error: could not compile `app` (bin "app") due to 1 previous error',
    ]);
  });

  it('are of Go’s, TypeScript’s and Java’s compilers', () => {
    for (const line of [
      './main.go:7:2: undefined: foo',
      'src/a.ts(3,7): error TS2322: Type ‘string’ is not assignable to type ‘number’.',
      'src/a.ts:3:7 - error TS2322: Type ‘string’ is not assignable to type ‘number’.',
      'Main.java:5: error: cannot find symbol',
    ]) {
      assert.deepEqual(found(`building\n${line}\nbye`), [line]);
    }
  });

  it('are the end of a Python traceback with what was raised', () => {
    const frames = Array.from(
      { length: 30 },
      (_, i) => `  File "/work/m${i}.py", line ${i}, in f\n    f(${i})`,
    );
    const log = `start\nTraceback (most recent call last):\n${frames.join('\n')}\nValueError: no such thing\nafter`;
    const lines = found(log);
    assert.equal(lines[0], 'Traceback (most recent call last):');
    assert.equal(lines.at(-1), 'ValueError: no such thing');
    assert.deepEqual(lines.slice(1, 5), [
      '  File "/work/m28.py", line 28, in f',
      '    f(28)',
      '  File "/work/m29.py", line 29, in f',
      '    f(29)',
    ]);
  });

  it('are both tracebacks when one exception came of another', () => {
    const one = (name: string) =>
      `Traceback (most recent call last):\n  File "a.py", line 1, in f\n    f()\n${name}: bad`;
    const log = `${one('KeyError')}\n\nDuring handling of the above exception, another exception occurred:\n\n${one('OSError')}`;
    const lines = found(log);
    assert.ok(lines.includes('KeyError: bad'));
    assert.ok(lines.includes('OSError: bad'));
  });

  it('are panics of Go and Rust', () => {
    assert.deepEqual(
      found('panic: boom\n\ngoroutine 1 [running]:\nmain.main()\n\t/work/a.go:4 +0x25\nexit status 2'),
      ['panic: boom', '', 'goroutine 1 [running]:', 'main.main()', '\t/work/a.go:4 +0x25'],
    );
    assert.deepEqual(
      found("thread 'main' panicked at src/main.rs:2:5:\nboom\nnote: run with `RUST_BACKTRACE=1`"),
      ["thread 'main' panicked at src/main.rs:2:5:", 'boom'],
    );
  });

  it('are what a Node program threw', () => {
    const log = `/work/a.js:1\nnull.x\n     ^\n\nTypeError: Cannot read properties of null (reading 'x')\n    at Object.<anonymous> (/work/a.js:1:6)\n    at node:internal/main/run_main_module:36:49`;
    assert.deepEqual(found(log), [
      "TypeError: Cannot read properties of null (reading 'x')",
      '    at Object.<anonymous> (/work/a.js:1:6)',
    ]);
  });

  it('are failed tests of the common runners', () => {
    for (const line of [
      'FAILED tests/test_a.py::test_one - assert 1 == 2',
      'E   AssertionError: assert 1 == 2',
      '--- FAIL: TestOne (0.00s)',
      'not ok 3 - it adds',
      '  ✕ adds (3 ms)',
      'test tests::adds ... FAILED',
      '[  FAILED  ] Suite.Adds (0 ms)',
      'FAIL: test_one (test_a.TestA.test_one)',
      "app: a.c:3: main: Assertion `x == 1' failed.",
    ]) {
      assert.deepEqual(found(`ok 1\n${line}\n`), [line], line);
    }
  });

  it('are what the shell and the kernel say', () => {
    for (const line of [
      '/bin/sh: 1: cargo: not found',
      'bash: line 1: foo: command not found',
      'cat: /nope: No such file or directory',
      'Segmentation fault (core dumped)',
      'tar: a: Cannot write: No space left on device',
      'curl: (6) Could not resolve host: example.org',
      'E: Unable to locate package nothing',
      'fatal: not a git repository (or any of the parent directories): .git',
      'npm error code ENOENT',
    ]) {
      assert.deepEqual(found(line), [line], line);
    }
  });

  it('are none where errors are only spoken of', () => {
    const log = `cc -Werror -c src/error.c
compiled with 0 errors
error handling works: ok
no errors found
ok 1 - reports an error
not ok 2 - later # TODO
Errors: 0
Error: 0 of 12
ERROR: 0
error: no errors
tests/error_test.go
Downloading error-chain v0.12.4`;
    assert.deepEqual(found(log), []);
  });

  it('are bounded: the likelier and the earlier stay, each once, and it is said how many do not', () => {
    const errors = Array.from({ length: 40 }, (_, i) => `a.c:${i + 1}:1: error: number ${i}`);
    const log = ['make: *** [x] Error 1', ...errors, ...errors].join('\n');
    const { lines, more } = errorLines(numbered(log), 5);
    assert.deepEqual(
      lines.map(({ text }) => text),
      errors.slice(0, 5),
    );
    assert.equal(more, 36);
  });

  it('come in the order of the log with their numbers, for any log', () => {
    const line = fc.oneof(
      fc.string(),
      fc.constantFrom(
        'a.c:1:2: error: x',
        'Traceback (most recent call last):',
        '  File "x"',
        'panic: x',
        'ValueError: x',
      ),
    );
    fc.assert(
      fc.property(fc.array(line, { maxLength: 60 }), fc.integer({ min: 1, max: 20 }), (log, max) => {
        const given = log.map((text, i) => ({ seq: i + 1, text }));
        const { lines } = errorLines(given, max);
        assert.ok(lines.length <= max);
        for (const [i, each] of lines.entries()) {
          assert.equal(given[each.seq - 1], each);
          assert.ok(i === 0 || (lines[i - 1]?.seq ?? 0) < each.seq);
        }
      }),
    );
  });

  it('are found in two seconds of a processor in the worst that 2,000 long lines can be', () => {
    const lines = Array.from({ length: 2_000 }, (_, seq) => ({
      seq,
      text: 'a:'.repeat(1_000) + ' error'.repeat(3),
    }));
    const before = process.cpuUsage();
    errorLines(lines);
    const { user } = process.cpuUsage(before);
    assert.ok(user < 2_000_000, `${user} µs`);
  });

  it('are found in little time in what was made to take long', () => {
    const HOSTILE = [
      'assertion ',
      'Assertion failed ',
      '1 failed in 1 ',
      '= 1 error in 1.1',
      '0 fail ',
      '0 failed 1111',
      '0 errors',
      'fatal error: file not found',
      'error (1,1',
      'error a:1:1',
      '.go:1:1',
      '# TODO 1',
      'Tests: 1, Failures: ',
      'aError.AError',
      ': Assertion ',
      'error \t ',
      'make[1',
      '(ignored)  error',
      "error thread '",
    ];
    const BEGINNINGS = [
      '',
      '= ',
      'fatal error: ',
      'not ok 1 ',
      'test ',
      'Tests: 1, ',
      'rm: ',
      'x error ',
      '  at ',
    ];
    const took = (text: string): number => {
      const lines = Array.from({ length: 20 }, (_, seq) => ({ seq, text: `${text}${seq}` }));
      const once = (): number => {
        const before = process.cpuUsage();
        errorLines(lines);
        return process.cpuUsage(before).user;
      };
      return Math.min(once(), once());
    };
    for (const size of [4_000, 65_536])
      for (const beginning of BEGINNINGS)
        for (const hostile of HOSTILE) {
          const text = `${beginning}${hostile.repeat(size / hostile.length)} 1 error`;
          // A line of 4,000 characters is looked at whole.
          const cpu = took(text);
          assert.ok(cpu < 50_000, `${beginning}${hostile}: ${cpu} µs for 20 lines of ${size}`);
        }
  });

  it('are a failed test of TAP, not one that is known to fail, by any number', () => {
    for (const n of [1, 12, 345]) {
      assert.deepEqual(found(`not ok ${n} - a # TODO later`), []);
      assert.deepEqual(found(`not ok ${n} - a`), [`not ok ${n} - a`]);
    }
  });

  /** What stands in the log of a command that ended with 0, by the program that printed it. */
  const FAILED: Readonly<Record<string, readonly string[]>> = {
    make: [
      'make: *** [Makefile:3: all] Error 1',
      'make[2]: *** No rule to make target ’x’.  Stop.',
      '/usr/bin/make: *** [t] Error 127',
    ],
    gcc: [
      'a.c:1:1: error: unknown type name ‘foo’',
      'cc1: fatal error: x.c: No such file or directory',
      'a.c:(.text+0x5): undefined reference to `f’',
    ],
    pytest: [
      'FAILED tests/test_a.py::test_one - assert 1 == 2',
      '=== 1 failed, 3 passed in 0.12s ===',
      '=== 2 errors in 0.10s ===',
    ],
    unittest: ['FAILED (errors=12)', 'FAILED (failures=1, skipped=2)', 'ERROR: test_x (t.T.test_x)'],
    jest: ['Tests:       1 failed, 2 passed, 3 total', 'Test Suites: 1 failed, 1 total', '  ✕ adds (3 ms)'],
    go: ['--- FAIL: TestA (0.00s)', 'FAIL\texample.org/a\t0.01s', './a.go:3:2: undefined: x'],
    cargo: [
      'test a::b ... FAILED',
      'test result: FAILED. 1 passed; 1 failed; 0 ignored',
      'error[E0425]: cannot find value `y`',
      'error: could not compile `a`',
    ],
    npm: ['npm ERR! code ELIFECYCLE', 'npm error Missing script: "x"'],
    maven: [
      '[ERROR] COMPILATION ERROR :',
      '[INFO] BUILD FAILURE',
      'Tests run: 3, Failures: 1, Errors: 0, Skipped: 0',
    ],
    tap: ['not ok 3 - adds', '# fail 2'],
    mocha: ['  2 failing'],
    node: ['ℹ fail 1', '✖ adds (1.2ms)'],
    ctest: ['50% tests passed, 1 tests failed out of 2'],
    automake: ['# FAIL:  1', 'FAIL: test-1.sh'],
    prove: ['Result: FAIL', '# Looks like you failed 1 test of 3.'],
    shell: [
      '/bin/bash: line 1: foo: command not found',
      'sh: 1: foo: not found',
      '/bin/bash: line 2: syntax error near unexpected token `)’',
      '/bin/bash: -c: line 1: unexpected EOF',
    ],
    others: [
      'CMake Error at CMakeLists.txt:3 (find_package):',
      'ninja: build stopped: subcommand failed.',
      'FAILURE: Build failed with an exception.',
      'E: Unable to locate package x',
      'fatal: repository ’x’ does not exist',
      'Segmentation fault (core dumped)',
      "python3: can't open file '/work/x.py': [Errno 2] No such file or directory",
      'cat: x: No such file or directory',
      'Traceback (most recent call last):',
      'panic: boom',
      'curl: (6) Could not resolve host: x',
      '✖ 3 problems (2 errors, 1 warning)',
    ],
  };

  it('are found in a log of a command that ended with 0', () => {
    for (const [program, lines] of Object.entries(FAILED))
      for (const line of lines)
        assert.deepEqual(
          errorLines(numbered(`before\n${line}\nafter`), 5, false).lines.map(({ text }) => text),
          [line],
          program,
        );
  });

  it('are none in a log in which all is well', () => {
    const log = `gcc -Wall -Werror -c error.c -o error.o
ar rc liberror.a error.o
a.c:3:5: warning: unused variable ‘error’ [-Wunused-variable]
make: [Makefile:7: clean] Error 1 (ignored)
make[1]: Nothing to be done for 'all'.
checking for error_at_line... no
checking whether strerror_r is declared... yes
./configure: line 7514: /usr/bin/file: No such file or directory
tests/test_errors.py::test_error_is_raised PASSED
tests/test_fail.py ..F.. is a name only
=== 12 passed, 1 xfailed, 2 warnings in 0.50s ===
Ran 3 tests in 0.001s
OK (expected failures=1)
PASS src/error.test.js
  ✓ throws an Error when it fails (3 ms)
Tests:       3 passed, 3 total
ok  \texample.org/errors\t0.003s
--- PASS: TestError (0.00s)
=== RUN   TestFailure
PASS
test error::fails ... ok
test should_panic - should panic ... ok
test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured
   Compiling thiserror v1.0.50
npm warn deprecated har-validator@5.1.5: this library is no longer supported
found 0 vulnerabilities
[INFO] BUILD SUCCESS
[INFO] Tests run: 3, Failures: 0, Errors: 0, Skipped: 0
[WARNING] Error messages are not translated
ok 1 - reports an error
not ok 2 - later # TODO not written
not ok 3 # SKIP no network
# fail 0
# pass 3
  12 passing (3s)
  1 pending
ℹ fail 0
# FAIL:  0
# ERROR: 0
100% tests passed, 0 tests failed out of 12
Result: PASS
[100%] Built target error
0 errors, 0 warnings
3 warnings and 0 errors generated.
✔ No problems found (0 errors)
waiting: Connection refused
fatal: not a git repository (or any of the parent directories): .git
ls: cannot access '*.tmp': No such file or directory
which: no error in (/usr/bin)
rm: cannot remove 'x': No such file or directory
log level ERROR is set
Build finished: errors=0`;
    assert.deepEqual(
      errorLines(numbered(log), 50, false).lines.map(({ text }) => text),
      [],
    );
  });
});
