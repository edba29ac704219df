import assert from 'node:assert/strict';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { after, before, describe, it } from 'mocha';
import { createPodmanRuntime } from '../../src/containers/podman/podman-runtime.ts';
import { sandboxPaths } from '../../src/containers/podman/sandbox/paths.ts';
import { mountsBelow } from '../../src/containers/podman/disks/mounts.ts';
import { makeImage } from '../support/agent-image.ts';
import { finished, launch, runToEnd, startTestPodman, type TestPodman } from '../support/podman.ts';

const PLACES = ['/tmp', '/var/tmp', '$HOME', '/artifacts', '/work', '/usr/local'];

describe('a root file system that a job writes to', () => {
  let podman: TestPodman;
  let directory: string;
  let work: string;
  before(async () => {
    podman = await startTestPodman();
    assert.equal(
      podman.runtime.facts.root,
      'writable',
      'the tests need root and a kernel that maps owners of mounts',
    );
    directory = mkdtempSync(join(tmpdir(), 'fp-root-'));
    work = join(directory, 'work');
    mkdirSync(join(work, 'd'), { recursive: true });
    writeFileSync(join(work, 'd', 'f'), 'old\n');
    writeFileSync(join(work, 'secret'), 'mine\n', { mode: 0o600 });
    chmodSync(directory, 0o755);
    for (const path of [work, join(work, 'd')]) chmodSync(path, 0o700);
    for (const path of ['', 'd', 'd/f', 'secret']) chownSync(join(work, path), 777_777, 777_777);
  });
  after(async () => {
    await podman.end();
    if (directory) rmSync(directory, { recursive: true });
  });

  it('takes rename and link of files and directories between any two places', async () => {
    const pairs = PLACES.flatMap((from) =>
      PLACES.filter((to) => to !== from).map((to) => `try ${from} ${to}`),
    );
    const { output } = await runToEnd(podman.runtime, {
      workDir: work,
      workReadOnly: false,
      // `mv` copies where rename is refused.
      script: `try() { mkdir -p $1/da/b && echo x > $1/fa && perl -e '
        my ($a, $b) = @ARGV;
        rename "$a/da", "$b/dz" or print "rename directory $a $b: $!\\n"; link "$a/fa", "$b/fl" or print "link $a $b: $!\\n";
        rename "$a/fa", "$b/fz" or print "rename $a $b: $!\\n"' $1 $2; rm -rf $2/dz $2/fl $2/fz; }
        ${pairs.join('; ')}
        perl -e 'rename "/work/d", "/tmp/d" and rename "/tmp/d", "/artifacts/d" or print "$!\\n"'; cat /artifacts/d/f`,
    });
    assert.equal(output, 'old\n');
  });

  it('gives the files of /work to the job’s user, with any owner on the disk and any mode', async () => {
    for (const workReadOnly of [true, false]) {
      const script =
        'stat -c "%u %g %a %n" . d secret; cat secret; git init -q /tmp/r && cd /work && git -C /tmp/r status -s';
      const { output } = await runToEnd(podman.runtime, { workDir: work, workReadOnly, script });
      assert.equal(
        output,
        '1000 1000 700 .\n1000 1000 700 d\n1000 1000 600 secret\nmine\n',
        String(workReadOnly),
      );
    }
    assert.equal(readFileSync(join(work, 'd', 'f'), 'utf8'), 'old\n');
  });

  it('is furnished inside of itself, and the host stays as it is', async () => {
    const host = () =>
      ['/etc', '/etc/passwd', '/etc/group', '/tmp', '/var/tmp', '/home'].map((path) => {
        const { uid, gid, mode, ino } = statSync(path);
        return { path, uid, gid, mode, ino };
      });
    const before = host();
    const image = await makeImage(['USER 4321'], {});
    try {
      const script =
        'getent passwd 4321; ls -ldn $HOME | cut -d" " -f1,3; touch ~/x && id -u; stat -c "%a %u" /tmp /var/tmp';
      await podman.runtime.ensureImage(image.name, () => undefined, AbortSignal.timeout(5_000));
      const { output } = await runToEnd(podman.runtime, { image: image.name, script });
      assert.match(output, /^\w+:x:4321:0::\/home\/job:\/bin\/bash\ndrwx\S+ 4321\n4321\n1777 0\n1777 0\n$/);
    } finally {
      await image.remove();
    }
    assert.deepEqual(host(), before);
  });

  it('is bounded by the disk of the job, wherever it writes', async () => {
    const { output, verdict } = await runToEnd(podman.runtime, {
      diskBytes: 64 * 2 ** 20,
      script: 'dd if=/dev/zero of=/usr/local/big bs=1M count=200 2>&1 | tail -1; df -m / | tail -1; false',
    });
    assert.doesNotMatch(output, /209715200 bytes/);
    assert.equal(verdict.diskFull, true);
  });

  it('shows the next job nothing of what this one did to its image', async () => {
    const script =
      'cat /etc/mine 2>/dev/null; ls /usr/bin/cal-x 2>/dev/null; echo x > /etc/mine; echo > /usr/bin/cal-x; rm /etc/debian_version && echo gone';
    for (let run = 1; run <= 2; run++) {
      const { output } = await runToEnd(podman.runtime, { root: true, script });
      assert.equal(output, 'gone\n', `run ${run}`);
    }
  });

  it('gives root what package managers need, and no more', async () => {
    const { output } = await runToEnd(podman.runtime, {
      root: true,
      workDir: work,
      script: `grep -E 'CapEff|NoNewPrivs' /proc/self/status; stat -c %U /work/secret; chown 5 /tmp; su nobody -s /bin/sh -c id
        mknod /tmp/n c 1 3 2>&1 | grep -o 'not permitted'; mount -t tmpfs x /mnt 2>&1 | grep -c . ; cat /proc/self/uid_map`,
    });
    assert.match(output, /CapEff:\t00000000a00405fb\nNoNewPrivs:\t1\nroot\nuid=65534\(nobody\)/);
    assert.match(output, /not permitted\n1\n\s+0\s+1000000\s+65536\n$/);
  });

  it('has as many cores as cpus, half of its memory for /dev/shm, and no name of the host', async () => {
    const script =
      'nproc; df -m /dev/shm | tail -1 | tr -s " " | cut -d" " -f2; grep -vE "localhost|$(hostname)" /etc/hosts';
    const { output } = await runToEnd(podman.runtime, { cpus: 1, memoryBytes: 256 * 2 ** 20, script });
    assert.equal(output, '1\n128\n');
  });

  it('leaves no mount, no directory and no held image behind', async () => {
    const sandbox = await launch(podman.runtime, {
      script: 'mv /etc/skel /artifacts/ 2>/dev/null; mkdir /artifacts/a',
    });
    await finished(sandbox);
    const paths = sandboxPaths(join(podman.directory, 'data', 'sandboxes', sandbox.id));
    assert.equal(mountsBelow(paths.root).length, 1);
    assert.ok(existsSync(join(await sandbox.artifactsPath(), 'a')));
    await sandbox.dispose();
    assert.deepEqual(mountsBelow(paths.rootPlace), []);
    assert.equal(existsSync(paths.rootPlace), false);
  });

  it('is mounted again for its artifacts when a boot has taken it away', async () => {
    const sandbox = await launch(podman.runtime, {
      root: true,
      script: 'mv /usr/share/doc /artifacts/doc; echo x > /artifacts/x; echo changed > /etc/passwd',
    });
    await finished(sandbox);
    await sandbox.remove();
    const paths = sandboxPaths(join(podman.directory, 'data', 'sandboxes', sandbox.id));
    await execa('umount', [paths.root]);
    await execa('umount', [paths.disk]);
    rmSync(paths.rootPlace, { recursive: true });
    const next = await createPodmanRuntime({
      socketPath: podman.service.socketPath,
      hostName: podman.hostName,
      deploymentId: podman.deploymentId,
      dataDir: join(podman.directory, 'data'),
      runDir: join(podman.directory, 'run'),
    });
    const found = (await next.sandboxes())[0]?.sandbox;
    assert.ok(found);
    const artifacts = await found.artifactsPath();
    assert.ok(existsSync(join(artifacts, 'doc', 'bash')), 'what was moved out of the image');
    assert.equal(readFileSync(join(artifacts, 'x'), 'utf8'), 'x\n');
    assert.equal(readFileSync(join(paths.root, 'etc', 'passwd'), 'utf8'), 'changed\n');
    await found.dispose();
    await next.close();
    await sandbox.dispose();
  });
});
