import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { type FailedJob, failureHint, silenceHint } from '../../src/jobs/failure-hints.ts';

/** What tools printed in jobs, or where a job's image has them not, in a shell. */
const SAID: readonly (readonly [line: string, advice: RegExp, job?: FailedJob])[] = [
  ["touch: cannot touch 'x': Read-only file system", /leave out `writable`/, { writable: false }],
  ["touch: cannot touch '/usr/x': Read-only file system", /A job can write in \/work/],
  ["OSError: [Errno 30] Read-only file system: '/usr/x'", /A job can write in \/work/],
  ["ln: failed to create hard link '/tmp/x' => '/dev/shm/x': Invalid cross-device link", /Copy and delete/],
  ["Error: EXDEV: cross-device link not permitted, rename 'a' -> 'b'", /Copy and delete/],
  ["dd: error writing '/tmp/x': No space left on device", /is full \(3 GB\).*`disk_gb`/, { disk_gb: 3 }],
  ['Error: ENOSPC: System limit for number of file watchers reached', /file watchers/],
  ["dd: error writing '/dev/shm/x': No space left on device", /2 GB here\).*`memory_gb`/, { memory_gb: 4 }],
  ['E: Could not open lock file /var/lib/dpkg/lock - open (13: Permission denied)', /"root": true/],
  ['initdb: error: cannot be run as root', /leave out `root`/, { root: true }],
  ["chown: changing ownership of 'x': Operation not permitted", /"root": true/],
  ['mount: /mnt: permission denied.', /No job can mount/],
  ['unshare: unshare failed: Operation not permitted', /No job can mount/, { root: true }],
  ['bash: line 1: ./run.sh: Permission denied', /`chmod \+x` it.*`sh \.\/run\.sh`/],
  ["touch: cannot touch '/etc/x': Permission denied", /other places belong to root/],
  ["fatal: detected dubious ownership in repository at '/work'", /safe\.directory/],
  ['fatal: not a git repository (or any of the parent directories): .git', /`files\.git: true`/],
  ['*** Please tell me who you are.', /GIT_AUTHOR_NAME/],
  ['make: *** No targets specified and no makefile found.  Stop.', /No files were sent/],
  ["make: *** No rule to make target 'test'.  Stop.", /directory that was sent/, { files_id: 'upload_x' }],
  ['npm error enoent Could not read package.json: Error: ENOENT: no such file', /No files were sent/],
  ["build.sh: line 2: $'\\r': command not found", /line ends of Windows/],
  ['bash: ./x: cannot execute binary file: Exec format error', /another processor/],
  ["./x: /lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.38' not found", /newer system/],
  ['build.sh: 2: Syntax error: "(" unexpected', /bash FILE/],
  ['sh: 1: set: Illegal option -o pipefail', /leave it out/, { shell: 'sh' }],
  ['/bin/echo: Argument list too long', /xargs/],
  [
    'FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory',
    /max-old-space-size=3072/,
  ],
  [
    'c++: fatal error: Killed signal terminated program cc1plus',
    /-j4.* instead of `-j8`/,
    { command: 'make -j8' },
  ],
  ['MemoryError', /The job had 2 GB/, { memory_gb: 2 }],
  ['bash: fork: retry: Resource temporarily unavailable', /limit of processes/],
  ['OSError: [Errno 24] Too many open files: x', /open at once/],
  ['curl: (6) Could not resolve host: example.org', /leave it out to reach/, { network: 'none' }],
  [
    'npm error request failed, reason: getaddrinfo EAI_AGAIN registry.example.org',
    /does not resolve in the job/,
  ],
  ['go: dial tcp: lookup proxy.golang.org: no such host', /does not resolve in the job/],
  [
    'npm error code SELF_SIGNED_CERT_IN_CHAIN: self-signed certificate in certificate chain',
    /FLASHPODS_CA_FILE/,
  ],
  ['x509: certificate signed by unknown authority', /FLASHPODS_CA_FILE/],
  [
    'ssl.SSLCertVerificationError: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed',
    /FLASHPODS_CA_FILE/,
  ],
  ['Error: listen EADDRINUSE: address already in use :::8080', /has the port/],
  ['Error: connect ECONNREFUSED 127.0.0.1:5432', /start the service itself/],
  ['curl: (28) Failed to connect to 10.0.0.9 port 80: Connection timed out', /out of its reach/],
  ['EOFError: EOF when reading a line', /no input/],
  ["fatal: could not read Username for 'https://github.com': No such device or address", /no input/],
  ['error: externally-managed-environment', /python3 -m venv/],
  ["ModuleNotFoundError: No module named 'pytest'", /no Python module pytest/],
  ["Error: Cannot find module 'mocha'", /`npm ci` in the same command/],
  ['Cannot connect to the Docker daemon at unix:///var/run/docker.sock.', /no Docker/],
  ["System has not been booted with systemd as init system (PID 1). Can't operate.", /no systemd/],
  ['[1:1:ERROR:zygote_host_impl_linux.cc(90)] No usable sandbox!', /--no-sandbox/],
];

describe('what to do about a failure', () => {
  for (const [line, advice, job = {}] of SAID) {
    it(`is said of: ${line}`, () => {
      assert.match(failureHint(job, ['some output', line, 'make: *** [all] Error 1']) ?? 'nothing', advice);
    });
  }

  it('is nothing where nothing is known', () => {
    for (const line of [
      '',
      'src/main.c:3: error: unknown type name',
      'AssertionError: expected 1 to equal 2',
      '3 tests failed',
      'npm error code 1',
    ])
      assert.equal(failureHint({}, [line]), null, line);
  });

  it('names the way out of a killed build by what it was told to do at once', () => {
    const killed = { error: 'oom_killed', memory_gb: 4, cpus: 8 };
    assert.match(
      failureHint({ ...killed, command: 'make -j$(nproc) all' }, []) ?? '',
      /\(`-j4` instead of `-j\$\(nproc\)`\)/,
    );
    assert.equal(
      failureHint({ ...killed, command: 'node x.js' }, []),
      'The job had 4 GB: ask for more `memory_gb`.',
    );
  });

  it('is said of a long silence: what it used, and what it may wait for', () => {
    const of = (cpuSeconds: number | null, last = 'x'): string | null =>
      silenceHint(50, { ranSeconds: 55, cpuSeconds, last });
    assert.match(of(0.1) ?? '', /^No output for 50 s, hardly any cpu used\. It may wait for something/);
    assert.equal(of(90), 'No output for 50 s, 90 s of cpu used.');
    assert.match(of(null, 'Overwrite (y/n)?') ?? '', /^No output for 50 s\. It may wait for an answer/);
    assert.equal(silenceHint(3, { ranSeconds: 4, cpuSeconds: 0, last: '' }), null);
  });

  it('takes no longer for what a job chose', () => {
    const began = performance.now();
    for (const text of [' '.repeat(1e6), 'mount '.repeat(1e5), './'.repeat(1e5), '127.0.0.1 '.repeat(1e5)])
      failureHint({ command: '-j'.repeat(5_000) }, [text, `${text}x`]);
    assert.ok(performance.now() - began < 2_000);
  });
});
