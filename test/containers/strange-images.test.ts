import assert from 'node:assert/strict';
import { existsSync, lstatSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { makeBareImage } from '../support/agent-image.ts';
import { runToEnd, startTestPodman, type TestPodman } from '../support/podman.ts';

const DIRECTORIES = ['tmp', 'home', 'run', 'work', 'artifacts', 'var/tmp', 'proc', 'sys', 'dev', 'etc'];
const ETC_FILES = ['passwd', 'group', 'hosts', 'hostname', 'resolv.conf', 'mtab'].map(
  (name) => `etc/${name}`,
);

/** Writes to all places of a job, and tells what it can't, and who it is by /etc/passwd. Needs nothing but a shell. */
const LOOK = `for place in /tmp /var/tmp "$HOME" /artifacts /work; do echo x > $place/fp-written || echo "not to $place"; done
while IFS=: read -r name _ uid _; do [ "$uid" != 1000 ] || echo "$name"; done < /etc/passwd
[ -r /etc/hosts ] && [ -r /proc/self/status ] && [ -c /dev/null ] && echo $HOME $PWD`;

const owned = (path: string): string => {
  const { mode, uid, gid, ino } = lstatSync(path);
  return [path, mode, uid, gid, ino].join(' ');
};

/** A directory of this machine and its entries, with what a write from within a container would change. */
const listed = (directory: string): string[] =>
  [directory, ...readdirSync(directory).map((name) => join(directory, name))].map(owned);

describe('an image whose directories are not what builds expect', () => {
  let podman: TestPodman;
  let bait: string;
  before(async () => {
    podman = await startTestPodman();
    bait = mkdtempSync(join(tmpdir(), 'fp-bait-'));
    mkdirSync(join(bait, 'job'));
    for (const name of ['passwd', 'hosts', 'file']) writeFileSync(join(bait, name), 'mine\n');
  });
  after(async () => {
    await podman.end();
    rmSync(bait, { recursive: true });
  });

  /** @param make what a path is made to be, as a shell command on `$p` */
  const arranged = (paths: readonly string[], make: string): string =>
    `for p in ${paths.join(' ')}; do mkdir -p "$(dirname "$p")"; ${make}; done`;

  const FORMS: Readonly<Record<string, () => string>> = {
    'links that lead nowhere': () => arranged(DIRECTORIES, 'ln -s /nowhere/at/all $p'),
    'links that climb to themselves': () => arranged(DIRECTORIES, 'ln -s ../../../../../../$p $p'),
    'links to a directory of the host': () => arranged(DIRECTORIES, `ln -s ${bait} $p`),
    'links that climb out to the host': () =>
      arranged(DIRECTORIES, `ln -s ../../../../../../../../..${bait} $p`),
    'links into /proc': () => arranged(DIRECTORIES, 'ln -s /proc/1/root$p $p'),
    files: () => arranged(DIRECTORIES, 'echo x > $p'),
    'closed to everybody': () => arranged([...DIRECTORIES, 'home/job', 'var'], 'mkdir -p $p; chmod 0 $p'),
    'files of /etc that are links that lead nowhere': () => arranged(ETC_FILES, 'ln -s /nowhere/at/all $p'),
    'files of /etc that are files of the host': () =>
      arranged(ETC_FILES, `ln -s ../../../../../../../../..${bait}/hosts $p`),
    'files of /etc that are directories': () => arranged(ETC_FILES, 'mkdir -p $p/sub'),
    'files of /etc that are pipes': () => arranged(ETC_FILES, 'mkfifo $p'),
    'files of /etc that nobody may read': () => arranged(ETC_FILES, 'echo x > $p; chmod 0 $p'),
  };

  for (const [title, arrange] of Object.entries(FORMS))
    it(`${title}: the job starts, has all its places, and the host stays as it is`, async () => {
      const host = () => [
        ...['/', '/home', '/run', '/tmp', '/var/tmp'].map(owned),
        ...['/etc', bait, join(bait, 'job')].map(listed),
      ];
      const image = await makeBareImage({}, [], arrange());
      try {
        await podman.runtime.ensureImage(image.name, () => undefined, AbortSignal.timeout(5_000));
        const before = host();
        // A /work to write to is a directory of ours in any case.
        const script = LOOK.replace(' /work;', ';');
        const { output } = await runToEnd(podman.runtime, { image: image.name, script });
        assert.equal(output, 'job\n/home/job /work\n');
        assert.deepEqual(host(), before);
        for (const place of ['/tmp', '/var/tmp', '/work', '/artifacts', '/nowhere'])
          assert.equal(existsSync(join(place, 'fp-written')), false, place);
      } finally {
        await image.remove();
      }
    });
});
