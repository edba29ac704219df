import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { isTerminal } from '../../src/jobs/states.ts';
import { eventually } from '../support/eventually.ts';
import { LocalLogStore } from '../../src/logs/local-log-store.ts';
import { type Farm, startFarm } from '../support/farm.ts';
import { giveTo } from '../support/repository.ts';

/** The ways a job can end, on a real worker with a real Redis, Podman and SQLite. A minute of timeout is a second here. */
describe('a worker', () => {
  let farm: Farm;
  before(async () => {
    farm = await startFarm({ minuteMs: 1_000, config: { graceSeconds: 3, jobDiskMb: 64 } });
  });
  after(async () => {
    await farm.stop();
  });

  for (const [what, command, exitCode, error] of [
    ['0', 'true', 0, null],
    ['1', 'exit 1', 1, /code 1/],
    ['126', '/etc/passwd', 126, /not executable/],
    ['127', 'no-such-command', 127, /not found/],
    ['137', 'kill -9 $$', 137, /SIGKILL/],
    ['143', 'kill -15 $$; sleep 5', 143, /SIGTERM/],
  ] as const) {
    it(`reports exit code ${what} as it was`, async () => {
      const job = await farm.run({ command });
      assert.equal(job.exitCode, exitCode);
      assert.equal(job.status, exitCode === 0 ? 'completed' : 'failed');
      if (error) assert.match(job.error ?? '', error);
      else assert.equal(job.error, null);
    });
  }

  it('keeps stdout and stderr in order, and the usage', async () => {
    // FIONREAD: what lies in a pipe and was not received yet.
    const received =
      "perl -e 'do { select undef, undef, undef, 0.01; ioctl STDOUT, 0x541B, $n = pack q(L), 0 or die } while unpack q(L), $n'";
    const job = await farm.run({
      command: `echo one; ${received}; echo two >&2; ${received} >&2; echo three`,
    });
    assert.deepEqual(await farm.texts(job.id), ['one', 'two', 'three']);
    assert.ok((job.usage?.peakMemoryBytes ?? 0) > 0, JSON.stringify(job.usage));
  });

  it('has the lines of both streams in their exact order with `merge`', async () => {
    const command =
      'for i in $(seq 200); do echo out $i; echo err $i >&2; done; cat /proc/$$/cmdline | tr "\\0" " "; exit 3';
    const job = await farm.run({ command, merge: true });
    const expected = Array.from({ length: 400 }, (_, i) => `${i % 2 ? 'err' : 'out'} ${(i >> 1) + 1}`);
    const texts = await farm.texts(job.id);
    assert.deepEqual(texts.slice(0, 400), expected);
    assert.match(texts[400] ?? '', /^\/bin\/bash -o pipefail -c -- for/);
    assert.deepEqual([job.exitCode, job.ranBy], [3, 'bash -o pipefail']);
    const records = await new LocalLogStore(farm.config.logsPath).readRecords(job.id, { offset: 0 });
    assert.deepEqual([...new Set(records?.records.map(({ stream }) => stream))], ['merged']);
    const script = await farm.run({ command: '#!/bin/sh\necho a; echo b >&2; echo c', merge: true });
    assert.deepEqual([await farm.texts(script.id), script.ranBy], [['a', 'b', 'c'], '#!/bin/sh']);
  });

  it('says what ran the command, and what its log says though it ended with 0', async () => {
    const green = await farm.run({
      command: 'make nothing; seq 30000; echo FAILED \\(errors=12\\); seq 30000',
    });
    assert.deepEqual([green.status, green.exitCode, green.ranBy], ['completed', 0, 'bash -o pipefail']);
    assert.deepEqual(green.errorLines, [
      "1: make: *** No rule to make target 'nothing'.  Stop.",
      '30002: FAILED (errors=12)',
    ]);
    const failed = await farm.run({ command: 'make nothing | tee /tmp/log', shell: 'bash' });
    assert.deepEqual([failed.status, failed.exitCode, failed.errorLines.length], ['failed', 2, 1]);
    const clean = await farm.run({ command: 'echo 0 errors', shell: 'sh' });
    assert.deepEqual([clean.ranBy, clean.errorLines, clean.warnings], ['sh', [], []]);
  });

  it('says which program SIGPIPE ended', async () => {
    const job = await farm.run({ command: 'yes | head -1' });
    assert.deepEqual([job.status, job.exitCode], ['failed', 141]);
    assert.match(
      job.warnings[0] ?? '',
      /^“yes” was ended by SIGPIPE \(exit 141\): “head -1” stopped reading/,
    );
    assert.equal((await farm.run({ command: 'yes | head -1', shell: 'sh' })).exitCode, 0);
  });

  it('runs a script, and a commit of git has an author', async () => {
    const command =
      '#!/bin/bash -e\r\ncd /tmp; git init -q r; cd r; git commit -q --allow-empty -m x; git log --format="%an <%ae>"; git -c user.name=me commit -q --allow-empty -m y; git log -1 --format=%an; echo $CI $USER $FLASHPODS_CPUS $0\r\n';
    const job = await farm.run({ command, cpus: 1 });
    assert.equal(job.ranBy, '#!/bin/bash -e');
    assert.deepEqual(await farm.texts(job.id), [
      'Flashpods job <job@flashpods.invalid>',
      'me',
      'true job 1 /run/flashpods/command',
    ]);
  });

  it('collects artifacts before the job is terminal', async () => {
    const job = await farm.run({
      command: 'mkdir -p /artifacts/a && echo hello > /artifacts/a/b.txt; exit 3',
    });
    assert.equal(job.exitCode, 3);
    const [artifact] = await farm.queries.artifacts(job.id);
    assert.equal(artifact?.name, 'a/b.txt');
    assert.equal(artifact.sizeBytes, 6);
    assert.equal(
      await readFile(join(farm.config.artifactsPath, job.id, 'a', 'b.txt'), 'utf8').catch(() => 'hello\n'),
      'hello\n',
    );
  });

  it('names the kernel as the cause of an out-of-memory kill', async () => {
    // One read, which needs all of it: through a pipe it takes longer than a job has here on a busy machine.
    const hog = 'dd if=/dev/zero of=/dev/null bs=1400M count=1';
    const child = await farm.run({
      command: `${hog}; true`,
      memory_gb: 1,
      timeout_minutes: 120,
    });
    assert.deepEqual([child.status, child.exitCode, child.warnings.length], ['completed', 0, 1]);
    const job = await farm.run({
      command: hog,
      memory_gb: 1,
      timeout_minutes: 120,
    });
    assert.deepEqual([job.status, job.error, job.exitCode], ['failed', 'oom_killed', 137]);
  });

  it('names a full disk as the cause', async () => {
    const job = await farm.run({ command: 'head -c 200m /dev/zero > /artifacts/big' });
    assert.deepEqual([job.status, job.error], ['failed', 'disk_limit']);
  });

  it('ends a job at its timeout, with what it printed', async () => {
    const job = await farm.run({ command: 'echo begun; sleep 60', timeout_minutes: 1 });
    assert.deepEqual([job.status, job.error], ['timed_out', 'Job exceeded timeout limit']);
    assert.deepEqual(await farm.texts(job.id), ['begun']);
  });

  it('kills what ignores SIGTERM after the grace', async () => {
    const job = await farm.run({
      command: "trap '' TERM; echo deaf; while :; do sleep 0.1; done",
      timeout_minutes: 1,
    });
    assert.deepEqual([job.status, job.exitCode], ['timed_out', 137]);
  });

  it('lets the trap of an inner process finish when the job is cancelled', async () => {
    const script = `cat > /tmp/t <<'X'\ntrap 'sleep 0.3; echo trapped; exit 0' TERM\necho ready\nwhile :; do sleep 0.05; done\nX\nbash /tmp/t; echo after`;
    const { id } = await farm.submit({ command: script });
    await eventually('the script is ready', async () => (await farm.texts(id)).includes('ready'));
    await farm.jobs.cancel(id, null);
    const job = await farm.ended(id);
    assert.equal(job.status, 'cancelled');
    assert.ok((await farm.texts(id)).includes('trapped'));
  });

  it('says that artifacts are being collected, for any reason that ended the job', async () => {
    const { id } = await farm.submit({
      command: 'head -c 50m /dev/urandom > /artifacts/large; echo made; sleep 60',
    });
    await eventually('it has made them', async () => (await farm.texts(id)).includes('made'));
    await farm.jobs.cancel(id, null);
    const seen = new Set<string>();
    await eventually(
      'it has ended',
      async () => {
        const job = await farm.queries.get(id);
        if (job?.endedAt) seen.add(job.status);
        return job?.status === 'cancelled';
      },
      { everyMs: 1 },
    );
    assert.deepEqual([...seen], ['running', 'cancelled']);
  });

  it('never starts a job that was cancelled while it waited', async () => {
    const blocker = await farm.submit({ command: 'sleep 30', cpus: farm.cpus });
    await eventually(
      'the blocker runs',
      async () => (await farm.queries.get(blocker.id))?.status === 'running',
    );
    const waiting = await farm.submit({ command: 'echo never' });
    const cancelled = await farm.jobs.cancel(waiting.id, null);
    assert.equal(cancelled.status, 'cancelled');
    await farm.jobs.cancel(blocker.id, null);
    assert.equal((await farm.ended(blocker.id)).status, 'cancelled');
    const job = await farm.queries.get(waiting.id);
    assert.deepEqual([job?.epoch, job?.startedAt], [0, null]);
  });

  it('never shows running for a job that was cancelled while it started', async () => {
    let seen = 0;
    for (let round = 0; round < 6; round += 1) {
      const { id } = await farm.submit({ command: 'sleep 20' });
      await eventually(
        'it starts',
        async () => ['starting', 'running'].includes((await farm.queries.get(id))?.status ?? ''),
        { everyMs: 1 },
      );
      const before = await farm.queries.get(id);
      await farm.jobs.cancel(id, null);
      assert.equal((await farm.ended(id)).status, 'cancelled');
      const states = (await farm.journal.read({ jobId: id, limit: 50 })).map((event) =>
        event.type === 'ending_decided' ? event.type : event.payload.status,
      );
      const ending = states.indexOf('ending_decided');
      assert.ok(ending === -1 || !states.slice(ending).includes('running'), states.join());
      if (before?.status === 'starting') seen += 1;
    }
    assert.ok(seen > 0, 'no round caught the job while it was starting');
  });

  it('ends a job in one way only when cancel and exit meet', async () => {
    for (let round = 0; round < 5; round += 1) {
      const { id } = await farm.submit({ command: 'sleep 0.3' });
      await eventually('it runs', async () => (await farm.queries.get(id))?.status === 'running', {
        everyMs: 5,
      });
      await eventually(
        'it is about to end',
        async () => Date.now() - ((await farm.queries.get(id))?.startedAt ?? 0) > 240 + round * 20,
        { everyMs: 1 },
      );
      await farm.jobs.cancel(id, null).catch(() => undefined);
      const job = await farm.ended(id);
      assert.equal(job.status, job.endingReason === 'cancel' ? 'cancelled' : 'completed');
    }
  });

  it('fails a job whose image is not to be had, with what the engine said', async () => {
    const job = await farm.run({ command: 'true', image: 'localhost/flashpods/no-such-image:1' });
    assert.deepEqual([job.status, job.error, job.exitCode], ['failed', 'image_pull_failed', null]);
    await eventually('its log says so', async () =>
      (await farm.texts(job.id)).some((line) => line.includes('no-such-image')),
    );
  });

  it('gives the job its snapshot read-only, and every job a home and a /tmp of its own', async () => {
    const snapshot = join(farm.config.uploadsPath, 'snapshots', 'upload_worker-test1.layer', 'work');
    await mkdir(snapshot, { recursive: true });
    await writeFile(join(snapshot, 'file'), 'content\n');
    const filesId = await farm.adoptSnapshot(snapshot);
    const job = await farm.run({
      command:
        'cat file; touch file 2>/dev/null || echo read-only; touch ~/x /tmp/x && echo writable; touch /x 2>/dev/null || echo not its own',
      files_id: filesId,
    });
    assert.deepEqual(await farm.texts(job.id), ['content', 'read-only', 'writable', 'not its own']);
  });

  it('lets a job with `writable` write in its /work, and nothing of it reaches the snapshot', async () => {
    const snapshot = join(farm.config.uploadsPath, 'snapshots', 'upload_writable0001.layer', 'work');
    await mkdir(snapshot, { recursive: true });
    await writeFile(join(snapshot, 'file'), 'content\n');
    giveTo(farm.runtime.facts.idBase, snapshot);
    const command = 'cat file; echo more >> file && touch made && ls; cat file';
    for (let run = 1; run <= 2; run++) {
      const filesId = await farm.adoptSnapshot(snapshot);
      const job = await farm.run({ command, files_id: filesId, writable: true });
      assert.deepEqual(
        await farm.texts(job.id),
        ['content', 'file', 'made', 'content', 'more'],
        `run ${run}`,
      );
    }
    assert.deepEqual(await readdir(snapshot), ['file']);
    assert.equal(await readFile(join(snapshot, 'file'), 'utf8'), 'content\n');
  });

  it('keeps what of /work matches `artifacts`, with what the job made of its files, also of a job that failed', async () => {
    const snapshot = join(farm.config.uploadsPath, 'snapshots', 'upload_artifacts001.layer', 'work');
    await mkdir(join(snapshot, 'sent', 'deep'), { recursive: true });
    await writeFile(join(snapshot, 'sent', 'deep', 'a.whl'), 'sent\n');
    giveTo(farm.runtime.facts.idBase, snapshot);
    const command =
      'mkdir -p build/out/empty; echo made > build/out/app; echo no > build/other; echo r > /artifacts/report; exit 3';
    const kept = async (request: Record<string, unknown>): Promise<[string[], readonly string[]]> => {
      const job = await farm.run(request);
      const artifacts = await farm.queries.artifacts(job.id);
      return [artifacts.map(({ name }) => name), job.artifactWarnings];
    };
    const artifacts = ['**/*.whl', '/work/build/out', '/artifacts/report', 'no-such'];
    assert.deepEqual(
      await kept({ command, artifacts, writable: true, files_id: await farm.adoptSnapshot(snapshot) }),
      [
        ['build/out/app', 'build/out/empty', 'report', 'sent/deep/a.whl'],
        ['nothing in /work matches "no-such"'],
      ],
    );
    assert.deepEqual(
      await kept({ command: 'true', artifacts: ['sent'], files_id: await farm.adoptSnapshot(snapshot) }),
      [['sent/deep/a.whl'], []],
      'of files that it may only read',
    );
    assert.deepEqual(await kept({ command, writable: true, artifacts: ['/work'] }), [
      ['build/other', 'build/out/app', 'build/out/empty', 'report'],
      [],
    ]);
    assert.deepEqual(
      await kept({
        command: 'cd /; rm -rf /work 2>/dev/null; ln -s /etc /work; echo a > /artifacts/a',
        root: true,
        writable: true,
        artifacts: ['passwd'],
      }),
      [['a'], ['nothing was collected from /work: it is no directory any more']],
    );
  });

  it('leaves nothing of an ended job on the host', async () => {
    await eventually('every sandbox is gone', async () => (await farm.runtime.sandboxes()).length === 0);
    const { reservations } = await farm.queues.semaphore.view();
    assert.deepEqual(reservations, []);
    assert.deepEqual(await farm.queues.semaphore.audit(), []);
    assert.equal(existsSync(join(farm.config.dataDir, 'hosts', farm.config.hostName, 'journal')), true);
    const { jobs } = await farm.queries.list({
      owner: null,
      states: null,
      type: null,
      label: null,
      limit: 100,
      beforePosition: null,
    });
    for (const job of jobs) assert.ok(isTerminal(job.status), `${job.id} is ${job.status}`);
  });

  it('goes on with a job when another worker process of its host takes over', async () => {
    const { id } = await farm.submit({
      command: 'for i in $(seq 1 40); do echo line $i; sleep 0.05; done; exit 7',
      timeout_minutes: 60,
    });
    await eventually('it prints', async () => (await farm.texts(id)).length > 5);
    await farm.replaceWorker();
    const job = await farm.ended(id);
    assert.equal(job.exitCode, 7);
    assert.deepEqual(
      await farm.texts(id),
      Array.from({ length: 40 }, (_, index) => `line ${index + 1}`),
    );
  });
});
