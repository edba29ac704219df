import assert from 'node:assert/strict';
import { watch } from 'node:fs';
import { after, before, describe, it } from 'mocha';
import { JOB_INSTANCES } from '../../src/containers/podman/host/inotify.ts';
import { eventually } from '../support/eventually.ts';
import { launch, leftovers, printed, type TestPodman, runToEnd, startTestPodman } from '../support/podman.ts';

const MB = 1024 * 1024;
/** Doubles a string in the shell until something gives. */
const HOG = 'x=aaaaaaaaaaaaaaaa; while :; do x=$x$x; done';

describe('a container’s limits', () => {
  let podman: TestPodman;
  before(async () => {
    podman = await startTestPodman();
  });
  after(() => podman.end());

  it('ends a job that takes too much memory with 137 and says why', async () => {
    const { state, verdict } = await runToEnd(podman.runtime, { memoryBytes: 64 * MB, script: HOG });
    assert.equal(state.exitCode, 137);
    assert.equal(verdict.oomKilled, true);
    const peak = verdict.usage.peakMemoryBytes ?? 0;
    assert.ok(peak > 48 * MB && peak <= 64 * MB, `peak ${peak}`);
  });

  it('reports a child that was killed for memory although the command ends with 0', async () => {
    const script = `sh -c '${HOG}'; echo "child: $?"; true`;
    const { state, verdict, output } = await runToEnd(podman.runtime, { memoryBytes: 64 * MB, script });
    assert.match(output, /child: 137/);
    assert.equal(state.exitCode, 0);
    assert.equal(verdict.oomKilled, true);
  });

  it('does not take a job’s own SIGKILL for a lack of memory', async () => {
    const { state, verdict } = await runToEnd(podman.runtime, { script: 'kill -9 $$' });
    assert.equal(state.exitCode, 137);
    assert.equal(verdict.oomKilled, false);
  });

  it('stops a fork bomb at the limit of processes', async () => {
    const { state, verdict } = await runToEnd(podman.runtime, {
      pidsLimit: 32,
      script: 'for i in $(seq 64); do sleep 20 & done; wait',
    });
    assert.notEqual(state.exitCode, 0);
    assert.equal(verdict.pidsExhausted, true);
    assert.ok((verdict.usage.maxProcesses ?? 99) <= 33, `${verdict.usage.maxProcesses} processes`);
  });

  it('leaves the host’s root the inotify instances that it needs, also a job that is root of its own', async () => {
    // By number, as x86-64 has it: inotify_init.
    const program =
      '$| = 1; my $n = 0; $n++ while $n < 9000 && syscall(253) >= 0; print "has $n\\n"; sleep 600';
    for (const root of [false, true]) {
      const sandbox = await launch(podman.runtime, { script: `exec perl -e '${program}'`, root });
      await eventually('it has all that it gets', () => printed(sandbox).includes('has '));
      assert.equal(printed(sandbox), `has ${JOB_INSTANCES}\n`);
      watch('/', () => undefined).close();
      await sandbox.dispose();
    }
  });

  it('answers a full disk with ENOSPC and reports it', async () => {
    const { state, verdict, output } = await runToEnd(podman.runtime, {
      diskBytes: 16 * MB,
      script: 'exec 2>&1; head -c 40000000 /dev/zero > /artifacts/big; echo "status $?"; exit 3',
    });
    assert.match(output, /No space left on device\nstatus 1/);
    assert.equal(state.exitCode, 3);
    assert.equal(verdict.diskFull, true);
  });

  it('bounds /tmp, /var/tmp and the home directory by the same disk', async () => {
    const { output } = await runToEnd(podman.runtime, {
      diskBytes: 16 * MB,
      script: 'for d in /tmp /var/tmp /home/job; do head -c 40000000 /dev/zero > $d/big || rm $d/big; done',
    });
    assert.equal(output.match(/No space left on device/g)?.length, 3);
  });

  it('tells what a job used', async () => {
    const { verdict } = await runToEnd(podman.runtime, {
      script:
        'head -c 8000000 /dev/urandom > /artifacts/f; i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; sleep 0.1 & wait',
    });
    const { usage } = verdict;
    assert.equal(usage.unknown, undefined);
    assert.ok((usage.cpuSeconds ?? 0) > 0.05, `${usage.cpuSeconds} s`);
    assert.ok((usage.bytesWritten ?? 0) >= 8_000_000, `${usage.bytesWritten} bytes`);
    assert.ok((usage.bytesWritten ?? 0) < 12_000_000, `${usage.bytesWritten} bytes`);
    assert.ok((usage.maxProcesses ?? 0) >= 3);
    assert.deepEqual([verdict.oomKilled, verdict.diskFull, verdict.pidsExhausted], [false, false, false]);
  });

  it('holds a job to its cpus', async () => {
    const spin = 'timeout 1 sh -c "while :; do :; done" &';
    const { verdict } = await runToEnd(podman.runtime, { cpus: 1, script: `${spin} ${spin} ${spin} wait` });
    assert.ok((verdict.usage.cpuSeconds ?? 9) < 1.6, `${verdict.usage.cpuSeconds} s of cpu within about one`);
  });
});

describe('a job’s disk where loop mounts are not to be had', () => {
  let podman: TestPodman;
  before(async () => {
    podman = await startTestPodman({ disk: 'watch' });
  });
  after(() => podman.end());

  it('ends a job that writes more than it may, and says why', async () => {
    const { state, verdict } = await runToEnd(podman.runtime, {
      diskBytes: 4 * MB,
      script: 'head -c 12000000 /dev/zero > /artifacts/big; sleep 30',
    });
    assert.equal(state.exitCode, 137);
    assert.equal(verdict.diskFull, true);
    assert.equal(verdict.oomKilled, false);
    assert.deepEqual(await leftovers(podman.runtime), []);
  });

  it('ends a job that makes more files than its disk would have inodes', async () => {
    const { state, verdict } = await runToEnd(podman.runtime, {
      diskBytes: 16 * MB,
      script: 'cd /artifacts; i=0; while [ $i -lt 1500 ]; do : > f$i; i=$((i + 1)); done; sleep 60',
    });
    assert.equal(state.exitCode, 137);
    assert.equal(verdict.diskFull, true);
    assert.deepEqual(await leftovers(podman.runtime), []);
  });
});
