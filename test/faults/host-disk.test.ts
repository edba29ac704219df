import assert from 'node:assert/strict';
import { readdirSync, readFileSync, statfsSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, it } from 'mocha';
import { eventually } from '../support/eventually.ts';
import { temporaryDirectory } from '../support/scratch.ts';
import { UpInstallation } from '../support/up-installation.ts';
import { SmallDisk } from './harness/small-disk.ts';

const MB = 2 ** 20;
const REST_MB = 128;

for (const kind of ['ext4', 'tmpfs'] as const)
  describe(`the disk of a host, ${kind}, with all that an installation has on it`, function () {
    this.timeout(300_000);
    let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
    let disk: SmallDisk;
    let farm: UpInstallation;

    before(async () => {
      directory = await temporaryDirectory();
      disk = await SmallDisk.make(directory.path, 'd', 900 * MB, kind);
      const settings = {
        FLASHPODS_MIN_FREE_DISK_MB: String(REST_MB),
        FLASHPODS_JOB_DISK_MB: '300',
        FLASHPODS_BALLAST_MB: '32',
      };
      farm = new UpInstallation(disk.path, 'f', settings, join(directory.path, 'f.log'));
      await farm.start();
    });
    beforeEach(() =>
      eventually('the ballast is whole', () => {
        const names = readdirSync(join(farm.data, 'ballast'));
        return names.filter((name) => /^piece-\d$/.test(name)).length === 8;
      }),
    );
    afterEach(() => disk.free());
    after(async () => {
      await farm.end();
      await disk.remove();
      await directory.remove();
    });

    const freeMb = (): number => {
      const { bavail, bsize } = statfsSync(disk.path);
      return (bavail * bsize) / MB;
    };
    const submit = async (command: string, more: Record<string, unknown> = {}): Promise<string> => {
      const request = { type: 'worker', command, network: 'none', cpus: 1, memory_gb: 1, ...more };
      const { status, body } = await farm.caller.json('POST', '/jobs', request);
      assert.equal(status, 201, JSON.stringify(body));
      return String(body['job_id']);
    };

    const saysDisk = (job: Record<string, unknown>): boolean =>
      /of disk: up-test has/.test(String(job['waiting_reason']));
    const ended = (id: string) =>
      eventually(
        `${id} has ended`,
        async () => {
          const job = await farm.caller.job(id);
          return ['completed', 'failed', 'cancelled', 'timed_out'].includes(job.status) ? job : null;
        },
        { timeoutMs: 120_000 },
      );

    /** Nobody has lent a hand: queue, database, log, artifacts, Redis, worker and API do what they always do. */
    async function goesOn(): Promise<void> {
      await eventually(
        'it is healthy',
        async () => (await farm.caller.json('GET', '/health')).body['status'] === 'healthy',
        { timeoutMs: 60_000 },
      );
      const id = await submit('echo well; echo result > /artifacts/r; exit 3');
      const job = await ended(id);
      assert.deepEqual([job.status, job.exit_code, job['error_code']], ['failed', 3, 'command_failed']);
      const { body } = await farm.caller.json<{ output: string }>('GET', `/jobs/${id}/output`);
      assert.match(body.output, /well/);
      const { artifacts } = (
        await farm.caller.json<{ artifacts: { name: string }[] }>('GET', `/jobs/${id}/artifacts`)
      ).body;
      assert.deepEqual(
        artifacts.map(({ name }) => name),
        ['r'],
      );
      await eventually('nothing of ended jobs is left', () => sandboxes().length === 0);
    }

    const root = (): string => join(farm.data, 'hosts', 'up-test', 'sandboxes');
    const sandboxes = (): string[] => readdirSync(root());
    /** The job's `/artifacts`, by its root file system on this host. */
    async function artifactsOf(jobId: string): Promise<string> {
      return eventually('its sandbox is there', () => {
        const own = sandboxes().find((id) =>
          readFileSync(join(root(), id, 'sandbox.json'), 'utf8').includes(jobId),
        );
        return own === undefined ? null : join('/run/flashpods-roots', own, 'root', 'artifacts');
      });
    }

    it('is not filled by jobs that write all they can: a rest stays, and all goes on', async () => {
      let least = Infinity;
      const watch = setInterval(() => (least = Math.min(least, freeMb())), 50);
      try {
        const fill = 'dd if=/dev/zero of=/tmp/fill bs=1M status=none; sync; exit 7';
        const ids = await Promise.all([1, 2, 3].map(() => submit(fill)));
        for (const id of ids) {
          const job = await ended(id);
          assert.deepEqual([job.status, job['error_code']], ['failed', 'disk_limit']);
        }
      } finally {
        clearInterval(watch);
      }
      // What logs, database and journals have taken meanwhile is no job's.
      assert.ok(least > REST_MB / 2, `${least} MB were left`);
      await goesOn();
    });

    it('filled by somebody else to the last byte while a job writes: the job is not completed, and all goes on', async () => {
      const id = await submit(
        'until [ -e /artifacts/go ]; do sleep 0.1; done; head -c 200M /dev/urandom > /artifacts/data; sync; exit 0',
      );
      await farm.caller.reached(id, ['running']);
      const artifacts = await artifactsOf(id);
      disk.fill();
      writeFileSync(join(artifacts, 'go'), '');
      await eventually(
        'it has written',
        () => {
          disk.fill();
          return farm.caller.job(id).then(
            ({ status }) => status !== 'running',
            () => false,
          );
        },
        { timeoutMs: 60_000 },
      ).catch(() => undefined); // the database may take its end only when there is room
      disk.free();
      const job = await ended(id);
      assert.deepEqual([job.status, job['error_code']], ['failed', 'disk_error'], JSON.stringify(job));
      await goesOn();
    });

    it('filled for good, the ballast too: a job that can write no more is ended, and its disk is the room that is needed', async () => {
      const id = await submit(
        'head -c 60M /dev/urandom > /artifacts/first; sync; until [ -e /artifacts/go ]; do sleep 0.1; done; trap "" TERM; while :; do head -c 100M /dev/urandom > /artifacts/data; sync; done',
      );
      await farm.caller.reached(id, ['running']);
      const artifacts = await artifactsOf(id);
      await eventually(
        'it has written',
        () => statSync(join(artifacts, 'first'), { throwIfNoEntry: false })?.size === 60 * MB,
      );
      const ballast = join(farm.data, 'ballast');
      await eventually('the ballast is gone', () => {
        disk.fill();
        return readdirSync(ballast).every((name) => !name.startsWith('piece-'));
      });
      writeFileSync(join(artifacts, 'go'), '');
      const job = await ended(id);
      assert.deepEqual([job.status, job['error_code']], ['failed', 'disk_error'], JSON.stringify(job));
      disk.free();
      await goesOn();
    });

    it('filled by somebody else: jobs wait, say why, and start when there is room', async () => {
      disk.fill();
      // One that came before the host had looked at its disk again may still have started.
      const id = await eventually(
        'a job waits and says why',
        async () => {
          const own = await submit('exit 5');
          let job = await farm.caller.job(own);
          await eventually('it waits for disk, or waits no more', async () => {
            job = await farm.caller.job(own);
            return saysDisk(job) || !['pending', 'queued'].includes(job.status);
          });
          return saysDisk(job) ? own : null;
        },
        { timeoutMs: 120_000 },
      );
      disk.free();
      assert.equal((await ended(id)).exit_code, 5);
      await goesOn();
    });

    it('is too small for a larger wish than it ever has', async () => {
      const request = { type: 'worker', command: 'true', disk_gb: 50, cpus: 1, memory_gb: 1 };
      const { status, body } = await farm.caller.json('POST', '/jobs', request);
      assert.deepEqual([status, body['error']], [422, 'unsatisfiable_resources']);
    });
  });
