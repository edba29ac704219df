import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chown, mkdir, readdir, readFile, readlink, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { execa } from 'execa';
import { temporaryDirectory } from '../../support/scratch.ts';
import { rawTar } from '../tar/raw-tar.ts';

const NOBODY = 65_534;
const IS_ROOT = process.getuid?.() === 0;
/** Where a service that is not root sees the test's directory, on the way to which others may be closed to it. */
const SEEN = '/mnt';
const AS_NOBODY = `mount --bind "$0" ${SEEN} && exec setpriv --reuid=${NOBODY} --regid=${NOBODY} --clear-groups "$@"`;

interface Target {
  readonly id: string;
  readonly address: string;
  readonly user: string;
  readonly password: string;
}

describe('where the daemon can’t lock a writer into the tree, since it is not root', () => {
  let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
  let service: ChildProcess | null = null;
  let lines: AsyncIterator<string>;

  const path = (...parts: string[]): string => join(directory.path, ...parts);

  beforeEach(async () => {
    directory = await temporaryDirectory();
    await mkdir(path('data'));
    await mkdir(path('evil'));
    if (IS_ROOT) await chown(path('data'), NOBODY, NOBODY);
  });
  afterEach(async () => {
    await end();
    await directory.remove();
  });

  /** With these tars in its upload, one stored after the other. */
  const start = async (...tars: Buffer[]): Promise<Target> => {
    for (const [index, tar] of tars.entries()) await writeFile(path('data', `${index + 1}.tar`), tar);
    const fixture = join(import.meta.dirname, 'fixtures', 'service.ts');
    const program = [process.execPath, fixture];
    const [command = '', ...args] = IS_ROOT
      ? ['unshare', '--mount', 'sh', '-c', AS_NOBODY, path('data'), ...program, SEEN]
      : [...program, path('data')];
    service = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'], cwd: '/' });
    assert.ok(service.stdout);
    const reader: Interface = createInterface({ input: service.stdout });
    lines = reader[Symbol.asyncIterator]();
    return JSON.parse(String((await lines.next()).value)) as Target;
  };
  /** Ends the service. @returns what became of the upload */
  const end = async (): Promise<string> => {
    if (service === null) return '';
    const exited = once(service, 'exit');
    service.stdin?.end();
    const last = String((await lines.next()).value);
    await exited;
    service = null;
    return last;
  };
  const rsync = async ({ user, address, password }: Target, ...options: string[]): Promise<string> => {
    const args = ['-r', ...options, `${path('evil')}/`, `rsync://${user}@${address}/uploads/`];
    const { exitCode, all } = await execa('rsync', args, {
      env: { RSYNC_PASSWORD: password },
      reject: false,
      all: true,
    });
    return `${exitCode} ${all}`;
  };
  /** What the service needs, and nobody else may make. */
  const outside = async (): Promise<string[]> => [
    ...(await readdir(path('data'))).filter(
      (name) => !name.startsWith('flashpods.db') && !name.endsWith('.tar'),
    ),
    ...(await readdir(path('data', 'rsync'))),
  ];

  const FIRST = rawTar(
    { name: 'p/q/r/s', type: '5', mode: 0o755 },
    { name: 'e', type: '2', link: 'p/q/r/s' },
    { name: 'out', type: '2', link: 'e/../../../..' },
    { name: 'direct', type: '2', link: '../../rsync' },
  );
  const SECOND = rawTar({ name: 'e', type: '5', mode: 0o755 });

  it('no link that came in a tar is a way for any option', async () => {
    const target = await start(FIRST, SECOND);
    const gate = await readFile(path('data', 'rsync', 'gate'), 'utf8');
    await writeFile(path('evil', 'gate'), 'evil 1');
    assert.match(await rsync(target), /^0 /);
    const before = (await outside()).sort();
    await writeFile(path('evil', 'gate'), 'evil 2, longer');
    for (const place of ['direct', 'out/rsync', 'out/../../rsync']) {
      for (const option of [
        ['--backup', `--backup-dir=${place}`],
        [`--temp-dir=${place}`],
        [`--partial-dir=${place}`],
        [`--link-dest=${place}`],
        [`--copy-dest=${place}`],
        [`--compare-dest=${place}`],
        ['--keep-dirlinks'],
      ])
        assert.match(await rsync(target, ...option), /refuse/, option.join(' '));
    }
    assert.deepEqual((await outside()).sort(), before);
    assert.equal(await readFile(path('data', 'rsync', 'gate'), 'utf8'), gate);
    // While files come no link leads anywhere, and in the end each is what it was.
    const tree = path('data', 'incoming', target.id);
    assert.equal(await readlink(join(tree, 'direct')), '/rsyncd-munged/../../rsync');
    assert.equal(await end(), 'finalized 3');
    const snapshot = path('data', 'snapshots', `${target.id}.layer`, 'work');
    assert.equal(await readlink(join(snapshot, 'direct')), '../../rsync');
    assert.equal(await readlink(join(snapshot, 'out')), 'e/../../../..');
  });

  it('links that came in neither way are made harmless before a connection is let in', async () => {
    const target = await start();
    const tree = path('data', 'incoming', target.id);
    const seen = join(IS_ROOT ? SEEN : path('data'), 'rsync');
    await symlink(seen, join(tree, 'strange'));
    await writeFile(path('evil', 'a'), '1');
    assert.match(await rsync(target), /^0 /);
    assert.equal(await readlink(join(tree, 'strange')), `/rsyncd-munged/${seen}`);
    assert.equal(await end(), 'finalized 2');
  });
});
