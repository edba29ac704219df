import assert from 'node:assert/strict';
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { hostDirectory } from '../../src/default-directories.ts';
import { sandboxPaths } from '../../src/containers/podman/sandbox/paths.ts';
import { STANDING_MOUNTS } from '../../src/containers/mounts.ts';
import type { FlashpodsError } from '../../src/errors.ts';
import type { Principal } from '../../src/identity/principal.ts';
import { ImageService } from '../../src/images/service.ts';
import type { Job } from '../../src/jobs/job.ts';
import { isTerminal } from '../../src/jobs/states.ts';
import { stocksOf } from '../../queues/images/stocks.ts';
import { makeBareImage, makeImage, type TestImage } from '../support/agent-image.ts';
import { eventually } from '../support/eventually.ts';
import { type Farm, startFarm } from '../support/farm.ts';
import { testSpec } from '../support/podman.ts';

/** A name that begins with `hold` is installed when there is a file /go. */
const APT_GET = `#!/bin/sh
until [ "$1" = update ] || [ "$1" = install ] || [ "$1" = clean ]; do shift; done
[ "$1" = install ] || exit 0
shift
echo "as $(id -u)" $(grep -E 'CapEff|NoNewPrivs' /proc/self/status) $(cat /proc/self/uid_map)
for name; do
  case $name in
    hold*) echo holding; until [ -e /go ]; do sleep 0.05; done ;;
    big) head -c 400000000 /dev/zero >/opt/big || exit 100 ;;
    broken) echo 'E: Sub-process dpkg returned an error code (1)'; exit 100 ;;
  esac
  printf '#!/bin/sh\\necho I am %s\\n' $name >/usr/bin/$name && chmod 755 /usr/bin/$name
done
rm -f /etc/debian_version /go
rm -rf /etc/skel && mkdir /etc/skel && echo new >/etc/skel/file
echo 'added:x:150:150::/nonexistent:/bin/sh' >>/etc/passwd
echo left >/tmp/left && echo left >/work/left && echo left >/artifacts/left
ln -s /etc /opt/link
mkdir -p /etc/chromium.d
`;
const APT_CACHE = `#!/bin/sh
if [ "$1" = pkgnames ]; then printf '%s\\n' tree hello libthing-dev; else
case $2 in *thin-dev) exit 100 ;; *) echo "Package: $2" ;; esac; fi
`;

/** Most are installed by a program of the test in apt's place; one by the real one, from the mirror that apt of this machine has. */
describe('a job with packages', function () {
  this.timeout(600_000);
  let farm: Farm;
  let image: TestImage;
  let bare: TestImage;
  before(async () => {
    [farm, image, bare] = await Promise.all([
      startFarm({ minuteMs: 5_000, config: { jobDiskMb: 256, graceSeconds: 1 } }),
      makeImage(
        ['COPY --chmod=755 apt-get /usr/bin/apt-get', 'COPY --chmod=755 apt-cache /usr/bin/apt-cache'],
        { 'apt-get': APT_GET, 'apt-cache': APT_CACHE },
      ),
      makeBareImage(),
    ]);
  });
  after(async () => {
    await farm?.stop();
    await image?.remove();
    await bare?.remove();
  });

  const images = (): ImageService =>
    new ImageService({ reports: () => stocksOf(farm.queues), removals: farm.queues.imageRemovals });
  const submit = (packages: readonly string[], more: Record<string, unknown> = {}): Promise<Job> =>
    farm.submit({ image: image.name, packages, command: `${packages[0]}`, timeout_minutes: 120, ...more });
  const run = async (packages: readonly string[], more?: Record<string, unknown>): Promise<Job> =>
    ended(await submit(packages, more));
  const ended = ({ id }: Job): Promise<Job> =>
    eventually(
      `${id} has ended`,
      async () => {
        const job = await farm.queries.get(id);
        if (job && isTerminal(job.status)) return job;
        throw new Error([job?.status, ...(await farm.texts(id))].join('\n'));
      },
      { timeoutMs: 240_000, everyMs: 100 },
    );
  const log = async (job: Job): Promise<string> => (await farm.texts(job.id)).join('\n');
  const says = (job: Job, line: string): Promise<unknown> =>
    eventually(`${job.id} says ${line}`, async () => (await log(job)).includes(line), { timeoutMs: 120_000 });
  const data = (name: string): string[] => readdirSync(join(hostDirectory(farm.config), name));
  const kept = (): string[] => data('packages').filter((name) => name !== 'locks');
  /** Lets the build go on that is under way beside the job's own sandbox. */
  const letGo = (): Promise<unknown> =>
    eventually('a build is let go', () => {
      for (const id of data('sandboxes'))
        try {
          const { root } = sandboxPaths(join(hostDirectory(farm.config), 'sandboxes', id));
          if (readdirSync(root).includes('bin')) writeFileSync(join(root, 'go'), '');
        } catch {
          continue; // not mounted yet, or not any more
        }
      return kept().length > 0;
    });

  it('finds what apt of its image installed, in isolation and once for who asks for the same', async () => {
    const command = `one; two; ls -A /work /artifacts /tmp; cat /etc/skel/file; ls /etc/debian_version 2>&1 | wc -l
      grep -c added /etc/passwd; id -un; ls /usr/sbin/policy-rc.d 2>&1 | grep -c cannot; echo mine >/tmp/x; mv /tmp/x /artifacts/; . /etc/chromium.d/flashpods; echo $CHROMIUM_FLAGS`;
    const job = await run(['two', 'one', 'two'], { command });
    assert.equal(job.status, 'completed', await log(job));
    assert.deepEqual(job.packages, ['one', 'two']);
    assert.equal(job.ranBy, 'bash -o pipefail');
    const lines = await farm.texts(job.id);
    assert.match(lines.join('\n'), /^as 0 CapEff: 00000000a00405fb NoNewPrivs: 1 0 1000000 65536$/m);
    assert.deepEqual(lines.slice(-14), [
      'The packages are installed, and kept for the next job that asks for the same.',
      'I am one',
      'I am two',
      '/artifacts:',
      '',
      '/tmp:',
      '',
      '/work:',
      'new',
      '1',
      '1',
      'job',
      '1',
      '--no-sandbox',
    ]);
    assert.deepEqual(kept().length, 1);
    const again = await run(['one', 'two'], { command: 'two' });
    assert.deepEqual([again.status, await farm.texts(again.id)], ['completed', ['I am two']]);
  });

  it('is nobody else’s, and listed for its owner alone', async () => {
    const { packages } = farm.runtime;
    assert.ok(packages);
    const wanted = await packages.want({ owner: 'somebody', image: image.name, packages: ['one', 'two'] });
    assert.equal(packages.hold(wanted), null);
    const listed = async (owner: string): Promise<unknown> =>
      (await images().list(owner)).images
        .filter((each) => each.packages.length > 0)
        .map(({ name, packages: its, isShared }) => [name, its, isShared]);
    await eventually('the host has told', async () => ((await listed('default')) as unknown[]).length > 0);
    assert.deepEqual(await listed('default'), [[image.name, ['one', 'two'], false]]);
    assert.deepEqual(await listed('somebody'), []);
  });

  it('is removed by its owner, and not while a job uses it', async () => {
    const anna: Principal = { tokenId: 'a', owner: 'default', scopes: new Set(['jobs:write']) };
    const one = { image: image.name, packages: ['two'] };
    const remove = (who: Principal = anna): Promise<unknown> =>
      images()
        .remove(who, one, AbortSignal.timeout(30_000))
        .catch((error: FlashpodsError) => error.code);
    const job = await submit(['two'], {
      command: 'echo begun; until [ -e /artifacts/end ]; do sleep 0.1; done',
    });
    await says(job, 'begun');
    const isListed = async (): Promise<boolean> =>
      (await images().list('default')).images.some(({ packages }) => packages.join() === 'two');
    await eventually('the host has told', isListed);
    assert.equal(await remove({ ...anna, owner: 'somebody' }), 'image_not_found');
    assert.equal(await remove(), 'image_in_use');
    await farm.jobs.cancel(job.id, 'default');
    await ended(job);
    const before = kept().length;
    await eventually('the job has let go', async () => (await remove()) !== 'image_in_use');
    assert.equal(kept().length, before - 1);
    assert.equal(await isListed(), false);
    assert.equal(await remove(), 'image_not_found');
  });

  it('waits while another one makes it, and makes it when that one is cancelled', async () => {
    const before = kept().length;
    const first = await submit(['hold-a']);
    await says(first, 'holding');
    assert.equal((await farm.queries.get(first.id))?.status, 'running');
    const [second, third] = await Promise.all([submit(['hold-a']), submit(['hold-a'])]);
    await Promise.all([says(second, 'waiting for it'), says(third, 'waiting for it')]);
    await farm.jobs.cancel(third.id, 'default');
    assert.equal((await ended(third)).status, 'cancelled');
    await farm.jobs.cancel(first.id, 'default');
    assert.equal((await ended(first)).status, 'cancelled');
    await says(second, 'holding');
    assert.equal(kept().length, before);
    await letGo();
    const done = await ended(second);
    assert.equal(done.status, 'completed', await log(second));
    assert.equal(kept().length, before + 1);
  });

  it('is installed anew when its worker went in the middle, and its time goes on', async () => {
    const job = await submit(['hold-b']);
    await says(job, 'holding');
    const { startedAt } = (await farm.queries.get(job.id)) ?? {};
    // As a worker leaves it that is killed: it says for whom it was made, and nobody waits for it.
    const orphan = await farm.runtime.provision({ diskBytes: 64 * 2 ** 20, mounts: STANDING_MOUNTS });
    const { jobId, ...spec } = testSpec({ jobId: job.id, epoch: job.epoch + 1, script: 'sleep 1000' });
    await orphan.bind({ ...spec, jobId, isBuild: true });
    await orphan.start().catch(() => undefined); // the worker may have found it between the two
    await farm.replaceWorker();
    await eventually(
      'it is installed once more',
      async () => (await log(job)).split('holding').length === 3,
      {
        timeoutMs: 120_000,
      },
    );
    await letGo();
    const done = await ended(job);
    assert.deepEqual([done.status, done.startedAt, done.ranBy], ['completed', startedAt, 'bash -o pipefail']);
    await eventually('nothing is left of either build', () => data('sandboxes').length === 0);
  });

  it('runs out of time while it is installed', async () => {
    const job = await run(['hold-c'], { timeout_minutes: 1 });
    assert.deepEqual([job.status, job.errorCode], ['timed_out', 'job_timed_out'], await log(job));
    await eventually('nothing is left of it', () => data('sandboxes').length === 0);
  });

  it('fails with what went wrong: a name, apt, the disk, an image without apt', async () => {
    const jobs = await Promise.all([
      run(['libthin-dev', 'one']),
      run(['broken']),
      run(['big', 'big2']),
      run(['one'], { image: bare.name }),
    ]);
    assert.deepEqual(
      jobs.map(({ status, errorCode }) => [status, errorCode]),
      [
        ['failed', 'package_not_found'],
        ['failed', 'package_install_failed'],
        ['failed', 'disk_limit'],
        ['failed', 'package_install_failed'],
      ],
    );
    assert.match(jobs[0]?.errorMessage ?? '', /has no package libthin-dev\. Most like it: libthing-dev/);
    assert.match(jobs[3]?.errorMessage ?? '', /has no \/usr\/bin\/apt-get/);
    assert.match(jobs[1]?.errorMessage ?? '', /apt said: Sub-process dpkg returned an error code/);
  });

  it('has packages of Debian, by the real apt', async () => {
    const real = { image: undefined };
    const job = await run(['hello'], {
      ...real,
      network: 'none',
      command: 'hello; ls -A /var/lib/apt/lists',
    });
    assert.equal(job.status, 'completed', await log(job));
    assert.deepEqual((await farm.texts(job.id)).slice(-1), ['Hello, world!']);
    const wrong = await run(['build-esential', 'tre', 'libc6-'], real);
    assert.deepEqual([wrong.status, wrong.errorCode], ['failed', 'package_not_found'], await log(wrong));
    assert.match(
      wrong.errorMessage ?? '',
      /Debian GNU\/Linux 12 \(bookworm\) has no package build-esential\. Most like it: build-essential/,
    );
    assert.match(wrong.errorMessage ?? '', /no package libc6-\. .*no package tre\. Most like it: tree/);
  });
});
