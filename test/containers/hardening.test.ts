import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { PodmanClient } from '../../src/containers/podman/service/http.ts';
import { isRecord } from '../../src/is-record.ts';
import { containerName } from '../../src/ids.ts';
import { type TestPodman, finished, launch, runToEnd, startTestPodman } from '../support/podman.ts';

/** Perl that ends with 0 when a system call was let through. */
const tried = (call: string): string => `perl -e 'exit(${call} < 0 ? 1 : 0)'`;

describe('a container’s hardening', () => {
  let podman: TestPodman;
  before(async () => {
    podman = await startTestPodman();
  });
  after(() => podman.end());

  it('holds no capability, gains no privilege and filters system calls, seen from inside', async () => {
    const { output } = await runToEnd(podman.runtime, {
      script: 'grep -E "^(Cap|NoNewPrivs|Seccomp:)" /proc/self/status; cat /proc/self/uid_map; id -u',
    });
    for (const set of ['Inh', 'Prm', 'Eff', 'Bnd', 'Amb'])
      assert.match(output, new RegExp(`^Cap${set}:\\s+0+$`, 'm'));
    assert.match(output, /^NoNewPrivs:\s+1$/m);
    assert.match(output, /^Seccomp:\s+2$/m);
    const base = podman.runtime.facts.idBase;
    if (base !== null) assert.match(output, new RegExp(`^\\s*0\\s+${base}\\s+65536$`, 'm'));
  });

  it('lets no job, not even root of one, into a namespace or a keyring of its own making', async () => {
    const attempts = [
      'unshare -U --keep-caps true',
      'unshare -Ur true',
      'unshare -m true',
      'unshare -n true',
      // By number, as x86-64 has them: clone with CLONE_NEWUSER, JOIN_SESSION_KEYRING, GET_KEYRING_ID, fsopen.
      ...['syscall(56, 0x10000011, 0, 0, 0, 0)', 'syscall(250, 1, 0)', 'syscall(250, 0, -3, 0)'].map(tried),
      tried('syscall(430, my $f = "tmpfs", 0)'),
    ];
    const script = [
      'perl -e "exit(fork() ? 0 : 0)" && echo perl works',
      ...attempts.map((attempt, n) => `if ${attempt} 2>/dev/null; then echo "did ${n}"; fi`),
    ].join('\n');
    for (const root of [false, true]) {
      const { output, state } = await runToEnd(podman.runtime, { script, root });
      assert.equal(state.exitCode, 0, output);
      assert.match(output, /^perl works$/m);
      assert.doesNotMatch(output, /^did /m);
    }
  });

  it('lets a job write where its user may, and nowhere of the system', async () => {
    const { output } = await runToEnd(podman.runtime, {
      script: [
        'for d in / /work /run /etc /usr /usr/bin /var /home /sys /proc /root; do',
        '  touch $d/x 2>/dev/null && echo "wrote $d"; done',
        'for d in /artifacts /tmp /var/tmp /home/job; do touch $d/x && echo "wrote $d"; done',
        'pwd; echo $HOME; stat -c %a /tmp; id',
      ].join('\n'),
    });
    assert.deepEqual(output.match(/^wrote .*/gm), [
      'wrote /artifacts',
      'wrote /tmp',
      'wrote /var/tmp',
      'wrote /home/job',
    ]);
    assert.match(output, /^\/work\n\/home\/job\n1777\nuid=1000\(job\) gid=1000\(job\)/m);
  });

  it('shows the job’s files at /work, read-only, and its environment', async () => {
    const workDir = mkdtempSync(join(tmpdir(), 'fp-work-'));
    try {
      writeFileSync(join(workDir, 'hello'), 'from the snapshot\n', { mode: 0o644 });
      chmodSync(workDir, 0o755);
      const { output } = await runToEnd(podman.runtime, {
        workDir,
        env: { FLASHPODS_JOB_ID: 'j1', HOME: '/tmp' },
        script: 'cat hello; touch new || echo refused; echo $FLASHPODS_JOB_ID $HOME',
      });
      assert.match(output, /from the snapshot/);
      assert.match(output, /refused\n/);
      assert.match(output, /j1 \/tmp/);
    } finally {
      rmSync(workDir, { recursive: true });
    }
  });

  it('has no socket, no network and an init as PID 1', async () => {
    const { output } = await runToEnd(podman.runtime, {
      script:
        'find / -xdev -type s 2>/dev/null | sed s/^/socket:/; ls /sys/class/net; cat /proc/1/comm; ulimit -n; bash -c "ulimit -u"',
    });
    assert.doesNotMatch(output, /^socket:/m);
    assert.match(output, /^lo\n(podman-init|catatonit)\n\d+\n\d+$/m);
  });

  it('gives internet jobs an interface of their own', async () => {
    const { output } = await runToEnd(podman.runtime, { network: 'internet', script: 'ls /sys/class/net' });
    assert.match(output, /^lo$/m);
    assert.match(output, /^(eth0|tap0)$/m);
  });

  it('carries its limits and labels, seen from outside', async () => {
    const { runtime, service } = podman;
    const sandbox = await launch(runtime, { script: 'sleep 60', cpus: 2, pidsLimit: 77 });
    const client = new PodmanClient(service.socketPath);
    try {
      const { body } = await client.call(
        'GET',
        `/containers/${containerName(sandbox.dispatch?.jobId ?? '', 1)}/json`,
      );
      assert.ok(isRecord(body) && isRecord(body['HostConfig']) && isRecord(body['Config']));
      const { HostConfig: host, Config: config } = body;
      assert.deepEqual(body['EffectiveCaps'] ?? [], []);
      assert.deepEqual(body['BoundingCaps'] ?? [], []);
      assert.equal(host['Memory'], 256 * 1024 * 1024);
      assert.equal(host['MemorySwap'], 256 * 1024 * 1024);
      assert.equal(host['CpuQuota'], 200_000);
      assert.equal(host['CpuPeriod'], 100_000);
      assert.equal(host['PidsLimit'], 77);
      assert.equal(host['Privileged'], false);
      assert.equal(host['ReadonlyRootfs'], runtime.facts.root === 'read-only');
      assert.deepEqual(config['Healthcheck'], { Test: ['NONE'] });
      assert.ok([15, 'SIGTERM'].includes(config['StopSignal'] as number | string));
      assert.equal(host['NetworkMode'], 'none');
      assert.equal(host['UsernsMode'], 'private');
      assert.notEqual(host['PidMode'], 'host');
      assert.ok(isRecord(config['Labels']));
      assert.equal(config['Labels']['flashpods-job'], 'true');
      assert.equal(config['Labels']['flashpods-job-type'], 'worker');
      assert.equal(config['Labels']['flashpods-deployment'], podman.deploymentId);
      for (const label of ['io.containers.autoupdate', 'PODMAN_SYSTEMD_UNIT'])
        assert.equal(config['Labels'][label], '');
    } finally {
      client.close();
      await sandbox.kill();
      assert.equal((await finished(sandbox)).state.exitCode, 137);
      await sandbox.dispose();
    }
  });
});
