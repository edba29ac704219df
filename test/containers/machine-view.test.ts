import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import {
  cpuinfoOf,
  keepMachineView,
  prepareMachineView,
  statOf,
} from '../../src/containers/podman/sandbox/machine-view.ts';
import { eventually } from '../support/eventually.ts';
import { launch, printed, runToEnd, startTestPodman, type TestPodman } from '../support/podman.ts';

const MB = 1024 * 1024;

describe('how large the machine is', () => {
  describe('in the files of a sandbox', () => {
    let directory: string;
    before(() => {
      directory = mkdtempSync(join(tmpdir(), 'fp-machine-'));
    });
    after(() => rmSync(directory, { recursive: true }));

    it('has the cores of the job alone, by their own numbers', () => {
      const core = (number: number): string => `processor\t: ${number}\nmodel name\t: X`;
      const cpuinfo = `${[0, 1, 2].map(core).join('\n\n')}\n\n`;
      assert.equal(cpuinfoOf([0, 2], cpuinfo), `${core(0)}\n\n${core(2)}\n\n`);
      const stat = 'cpu  6 60 0\ncpu0 1 10 0\ncpu1 2 20 0\ncpu2 3 30 0\nintr 9 1 8\nctxt 5\nsoftirq 4 4\n';
      assert.equal(
        statOf([0, 2], stat),
        'cpu  4 40 0 0 0 0 0 0 0 0\ncpu0 1 10 0\ncpu2 3 30 0\nintr 9\nctxt 5\nsoftirq 4\n',
      );
    });

    it('leaves the kernel’s own where the host can’t bound a job, or writes them in another way', () => {
      assert.deepEqual(prepareMachineView(join(directory, 'none'), { memoryBytes: null, cores: [] }), []);
      assert.equal(cpuinfoOf([0], 'vendor_id : IBM/S390\nprocessor 0: version = FF\n'), null);
      assert.equal(statOf([], 'cpu  1\n'), null);
    });

    it('is written over in place, and whole', async () => {
      const size = { memoryBytes: 512 * MB, cores: [0] };
      const own = join(directory, 'own');
      const binds = prepareMachineView(own, size);
      assert.deepEqual(new Set(binds.map(({ writable }) => writable)), new Set([false]));
      const path = join(own, 'meminfo');
      const { ino } = statSync(path);
      chmodSync(path, 0o644);
      writeFileSync(path, 'x'.repeat(2_000), { flag: 'r+' }); // longer than any that comes
      const end = keepMachineView(own, size, () => ({
        usedBytes: 200 * MB,
        cacheBytes: 90 * MB,
        shmemBytes: 30 * MB,
      }));
      const text = await eventually('it is written', () => {
        const now = readFileSync(path, 'utf8');
        return now.includes('x') ? null : now;
      }).finally(end);
      assert.match(text, /^MemTotal: +524288 kB\nMemFree: +319488 kB\nMemAvailable: +380928 kB\n/);
      assert.equal(statSync(path).ino, ino);
    });

    it('is tried again where it can’t be written, as on a full disk', async () => {
      const size = { memoryBytes: 512 * MB, cores: [0] };
      const own = join(directory, 'full');
      prepareMachineView(own, size);
      const path = join(own, 'meminfo');
      rmSync(path);
      mkdirSync(path); // any error will do
      let asked = 0;
      const end = keepMachineView(own, size, () => {
        asked += 1;
        return null;
      });
      try {
        await eventually('it was tried', () => asked > 1);
        rmSync(path, { recursive: true });
        writeFileSync(path, '');
        await eventually('it is written', () => readFileSync(path, 'utf8').startsWith('MemTotal'));
      } finally {
        end();
      }
    });
  });

  describe('to the programs of a job', () => {
    let podman: TestPodman;
    before(async () => {
      podman = await startTestPodman();
    });
    after(() => podman.end());

    it('is as large as the job', async () => {
      const { output } = await runToEnd(podman.runtime, {
        cpus: 1,
        memoryBytes: 128 * MB,
        script: `nproc; nproc --all; getconf _NPROCESSORS_ONLN; grep -c ^processor /proc/cpuinfo; grep -c ^cpu[0-9] /proc/stat
grep MemTotal /proc/meminfo; df -m /dev/shm | awk 'NR == 2 { print $2 }'
for f in /proc/meminfo /proc/stat /sys/devices/system/cpu/online; do { : > $f; } 2>/dev/null && echo written; done; true`,
      });
      assert.equal(output, '1\n1\n1\n1\n1\nMemTotal:         131072 kB\n64\n');
    });

    it('shows what the job uses now', async () => {
      const sandbox = await launch(podman.runtime, {
        memoryBytes: 256 * MB,
        script: `head -c ${100 * MB} /dev/zero > /dev/shm/held
until free=$(awk '/MemFree/ { print $2 }' /proc/meminfo) && [ "$free" -lt ${160 * 1024} ]; do sleep 0.1; done
awk '/Shmem/ { print ($2 >= ${100 * 1024}) }' /proc/meminfo
before=$(cat /proc/stat); until [ "$(cat /proc/stat)" != "$before" ]; do sleep 0.1; done; echo goes on`,
      });
      const state = await sandbox.waitForExit(AbortSignal.timeout(30_000));
      assert.equal(state?.exitCode, 0);
      assert.equal(printed(sandbox), '1\ngoes on\n');
    });
  });
});
