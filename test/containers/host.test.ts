import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'mocha';
import { cgroupMounts } from '../../src/containers/podman/cgroups/cgroup-v1.ts';
import { CgroupsV2 } from '../../src/containers/podman/cgroups/cgroup-v2.ts';
import { hardLimits, overlappingOwners } from '../../src/containers/podman/host/probes.ts';
import { qualified, rootCause } from '../../src/containers/podman/images/images.ts';
import { mountsBelow } from '../../src/containers/podman/disks/mounts.ts';
import { startProblem } from '../../src/containers/podman/container/start-problem.ts';
import { inspectedState } from '../../src/containers/podman/container/state.ts';
import { eventually } from '../support/eventually.ts';

describe('reading a host', () => {
  it('finds the controllers of v1, also those that share a hierarchy, and v2 beside them', () => {
    const mounts = cgroupMounts(
      [
        '32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct',
        '35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory',
        '41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw',
        '42 31 0:39 / /proc rw - proc proc rw',
      ].join('\n'),
    );
    assert.equal(mounts.byController.get('cpuacct'), '/sys/fs/cgroup/cpu,cpuacct');
    assert.equal(mounts.byController.get('memory'), '/sys/fs/cgroup/memory');
    assert.equal(mounts.all.length, 3);
  });

  it('finds mounts below a directory, with blanks in their names', () => {
    const info = [
      '1 1 7:0 / /data/a\\040b/disk rw - ext4 /dev/loop0 rw',
      '2 1 7:1 / /data/ab rw - ext4 /dev/loop1 rw',
    ].join('\n');
    assert.deepEqual(mountsBelow('/data/a b', info), [{ source: '/dev/loop0', target: '/data/a b/disk' }]);
    assert.deepEqual(mountsBelow('/data/a', info), []);
  });

  it('reads hard limits, unlimited ones too', () => {
    const limits = [
      'Max processes             96365                unlimited            processes ',
      'Max open files            1024                 20000                files     ',
    ].join('\n');
    assert.deepEqual(hardLimits(limits), { nofile: 20_000, nproc: Number.MAX_SAFE_INTEGER });
  });

  it('names the owners of ids that overlap with the reserved range', () => {
    const subids = 'a:100000:65536\nb:1000000:65536\nc:1065536:65536\nd:1065000:10\n\n';
    assert.deepEqual(overlappingOwners(1_000_000, subids), ['b', 'd']);
  });
});

describe('what Podman says of a container', () => {
  const state = (StartedAt: string, FinishedAt: string) =>
    inspectedState(
      {
        Name: 'n',
        Id: 'i',
        Config: { Labels: { 'flashpods-job-id': 'j', 'flashpods-epoch': '2', 'flashpods-deployment': 'd' } },
        State: { Status: 'exited', ExitCode: 0, StartedAt, FinishedAt },
      },
      'd',
    );

  it('never ends before it starts', () => {
    const read = state('2026-01-01T00:00:00.010Z', '2026-01-01T00:00:00.004Z');
    assert.equal(read?.startedAt, Date.UTC(2026, 0, 1, 0, 0, 0, 10));
    assert.equal(read.finishedAt, read.startedAt);
  });

  it('has no end when Podman gives none, as after a reboot', () => {
    assert.equal(state('2026-01-01T00:00:00Z', '0001-01-01T00:00:00Z')?.finishedAt, null);
  });

  it('is nothing when it is not a job', () => {
    assert.equal(inspectedState({ Name: 'n', Id: 'i', Config: { Labels: {} }, State: {} }, 'd'), null);
  });

  it('is nothing when it is a job of another installation', () => {
    const Labels = { 'flashpods-job-id': 'j', 'flashpods-epoch': '2', 'flashpods-deployment': 'other' };
    assert.equal(inspectedState({ Name: 'n', Id: 'i', Config: { Labels }, State: {} }, 'd'), null);
  });
});

describe('names of images', () => {
  it('get a registry when they have none', () => {
    assert.equal(qualified('ubuntu:22.04'), 'docker.io/library/ubuntu:22.04');
    assert.equal(qualified('someone/thing'), 'docker.io/someone/thing');
    assert.equal(qualified('docker.io/ubuntu'), 'docker.io/library/ubuntu');
    assert.equal(qualified('index.docker.io/library/ubuntu:22.04'), 'docker.io/library/ubuntu:22.04');
    assert.equal(qualified('docker.io/someone/thing'), 'docker.io/someone/thing');
    for (const whole of ['localhost/a:1', 'quay.io/a/b', 'host:5000/a', 'localhost:5000/a@sha256:00'])
      assert.equal(qualified(whole), whole);
  });
});

describe('complaints of Podman', () => {
  it('are cut to what a person needs', () => {
    assert.equal(
      rootCause('1 error occurred:\n\t* initializing source: no such host\n\n'),
      'initializing source: no such host',
    );
    const prefix = 'runc: runc create failed: unable to start container process: ';
    assert.match(
      startProblem(
        `${prefix}exec: "/bin/sh": stat /bin/sh: no such file or directory: OCI runtime attempted`,
      ),
      /^the image has no \/bin\/sh: /,
    );
    assert.match(
      startProblem(`${prefix}exec: "x": executable file not found in $PATH`),
      /^the image has no x: /,
    );
    assert.match(
      startProblem(`${prefix}exec: "/etc": permission denied`),
      /^\/etc of the image is not executable/,
    );
    assert.match(startProblem('something else'), /^could not start the container: something else$/);
  });
});

// The same kernel interface wherever v2 is mounted; in hybrid mode it has no controllers, but processes it has.
const mount = ['/sys/fs/cgroup', '/sys/fs/cgroup/unified'].find((path) =>
  existsSync(join(path, 'cgroup.controllers')),
);
if (mount !== undefined && process.getuid?.() === 0)
  describe('cgroup v2', () => {
    const base = `/flashpods-test-${process.pid}/host`;
    const request = {
      name: 'flashpods-x-1',
      diskBytes: 0,
      cpus: 1,
      memoryBytes: 64 * 1024 * 1024,
      pidsLimit: 9,
    };
    const cgroups = new CgroupsV2({ mount, base: () => base, bases: () => [base] });

    it('sees, kills and removes what runs below a parent', async () => {
      const cgroup = cgroups.of(request.name);
      cgroup.make();
      cgroup.make();
      cgroup.limit(request);
      assert.deepEqual([...cgroups.found().keys()], [request.name]);
      assert.equal(cgroup.aliveProbe(), null);
      const leaf = join(mount, base, request.name, 'libpod-1');
      mkdirSync(leaf);
      mkdirSync(join(mount, base, request.name, 'conmon'));
      const child = spawn('sleep', ['60']);
      const gone = new Promise((resolve) => child.once('exit', resolve));
      writeFileSync(join(leaf, 'cgroup.procs'), String(child.pid), { flag: 'r+' });
      assert.deepEqual(cgroup.processes(), [child.pid]);
      const probe = cgroup.aliveProbe();
      assert.ok(probe);
      assert.equal(probe.alive(), true);
      assert.equal(cgroup.remove(), false);
      assert.equal(cgroup.killAll(), true);
      await gone;
      await eventually('it is empty', () => !probe.alive());
      assert.notEqual(cgroup.counters().cpuSeconds, null);
      assert.equal(cgroup.remove(), true);
      assert.equal(probe.alive(), false);
      probe.close();
      assert.deepEqual([...cgroups.found()], []);
      rmdirSync(join(mount, base));
      rmdirSync(join(mount, base, '..'));
    });
  });
