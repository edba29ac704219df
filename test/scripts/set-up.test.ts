import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { createHash } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { beforeEach, describe, it } from 'mocha';
import { scratch } from '../support/scratch.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

interface Ended {
  readonly code: number;
  readonly output: string;
}

function run(program: string, args: string[], env: Record<string, string> = {}): Promise<Ended> {
  return new Promise((resolve) => {
    const settings = { PATH: process.env['PATH'], HOME: process.env['HOME'], ...env };
    execFile(program, args, { env: settings, timeout: 90_000 }, (error, stdout, stderr) => {
      resolve({ code: error ? Number(error.code) : 0, output: stdout + stderr });
    });
  });
}

describe('the set-up scripts', () => {
  const directory = scratch();
  let root = '';
  let count = 0;

  /** A checkout with the scripts alone, and programs that note how they were called. */
  beforeEach(async () => {
    await directory.make();
    root = directory.path(`checkout-${(count += 1)}`);
    await mkdir(`${root}/scripts`, { recursive: true });
    await mkdir(`${root}/programs`);
    for (const name of ['say.bash', 'node.bash', 'ensure-dependencies', 'ensure-packages']) {
      await copyFile(`${ROOT}scripts/${name}`, `${root}/scripts/${name}`);
    }
    await writeFile(`${root}/package-lock.json`, '{}');
  });
  const program = (name: string, body: string): Promise<void> =>
    writeFile(`${root}/programs/${name}`, `#!/bin/bash\necho "${name} $*" >>${root}/calls\n${body}\n`, {
      mode: 0o755,
    });
  const calls = (): Promise<string> => readFile(`${root}/calls`, 'utf8').catch(() => '');
  const path = (): string => `${root}/programs:${process.env['PATH'] ?? ''}`;
  const lockHash = (text: string): string => createHash('sha256').update(text).digest('hex');

  it('install npm packages when the lock file has changed, and only then', async () => {
    await program('npm', `mkdir -p node_modules`);
    const script = `${root}/scripts/ensure-dependencies`;
    assert.equal((await run(script, [], { PATH: path() })).code, 0);
    assert.match(await calls(), /^npm ci --ignore-scripts [^\n]*\n$/);
    assert.equal((await readFile(`${root}/node_modules/.flashpods-stamp`, 'utf8')).trim(), lockHash('{}'));
    await run(script, [], { PATH: path() });
    assert.equal((await calls()).match(/npm/g)?.length, 1);
    await writeFile(`${root}/package-lock.json`, '{"changed":true}');
    await run(script, [], { PATH: path() });
    assert.equal((await calls()).match(/npm/g)?.length, 2);
  });

  it('install what tests need only for them, and nothing anew for who needs less', async () => {
    await program('npm', `mkdir -p node_modules`);
    const ensure = (...args: string[]) => run(`${root}/scripts/ensure-dependencies`, args, { PATH: path() });
    await ensure('--omit=dev');
    await ensure('--omit=dev');
    await ensure();
    await ensure('--omit=dev');
    const installed = (await calls()).trim().split('\n');
    assert.deepEqual(
      installed.map((call) => call.includes('--omit=dev')),
      [true, false],
    );
  });

  it('do not take a failed installation for one', async () => {
    await program('npm', 'mkdir -p node_modules; echo "no registry" >&2; exit 1');
    const script = `${root}/scripts/ensure-dependencies`;
    const failed = await run(script, [], { PATH: path() });
    assert.equal(failed.code, 1);
    assert.match(failed.output, /no registry[^]*npm ci failed[^]*npm ping/);
    await program('npm', 'mkdir -p node_modules');
    assert.equal((await run(script, [], { PATH: path() })).code, 0);
    assert.equal((await calls()).match(/npm/g)?.length, 2);
  });

  it('call neither apt-get nor sudo when nothing is missing', async () => {
    await program('apt-get', 'exit 9');
    await program('sudo', 'exit 9');
    const { code, output } = await run(`${root}/scripts/ensure-packages`, ['bash'], { PATH: path() });
    assert.equal(code, 0, output);
    assert.equal(await calls(), '');
  });

  it('install what is missing, look at the mirror again when that fails, and say so when it is of no use', async () => {
    await program('apt-get', 'case "$*" in *update*) exit 0;; *) exit 100;; esac');
    await program('apt-cache', 'echo "  Candidate: 1.0"');
    await program('sudo', 'exec "$@"');
    const { code, output } = await run(`${root}/scripts/ensure-packages`, ['a-program-nobody-has'], {
      PATH: path(),
    });
    assert.equal(code, 1);
    assert.match(output, /Installing from Debian: a-program-nobody-has[^]*could not install/);
    const apt = (await calls()).split('\n').filter((line) => line.startsWith('apt-get'));
    assert.deepEqual(
      apt.map((line) => (/ (install|update)/.exec(line) ?? [])[1]),
      ['install', 'update', 'install'],
    );
    assert.match(apt[0] ?? '', /--no-install-recommends a-program-nobody-has$/);
  });

  it('find a base image, or one that stands in for it, and make it only once', async () => {
    const { code, output } = await run(`${ROOT}images/build`, ['--stand-in']);
    assert.equal(code, 0, output);
    assert.equal(output, '');
  });

  it('count what mocha ran, also when tests fail', async () => {
    await writeFile(
      `${root}/two.test.cjs`,
      `it('passes', () => {}); it('fails', () => { throw new Error('on purpose'); });`,
    );
    const { code } = await run(
      process.execPath,
      [
        `${ROOT}node_modules/mocha/bin/mocha.js`,
        '--no-config',
        '--reporter',
        `${ROOT}scripts/counting-reporter.cjs`,
        `${root}/two.test.cjs`,
      ],
      { FLASHPODS_TEST_COUNTS: `${root}/counts` },
    );
    assert.equal(code, 1);
    assert.equal(await readFile(`${root}/counts`, 'utf8'), '1 0\n0 1 fails: on purpose\n');
  });
});
