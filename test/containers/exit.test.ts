import assert from 'node:assert/strict';
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { execFileSync } from 'node:child_process';
import { after, before, describe, it } from 'mocha';
import type { Sandbox } from '../../src/containers/sandbox.ts';
import { FlashpodsError } from '../../src/errors.ts';
import { eventually } from '../support/eventually.ts';
import {
  type TestPodman,
  disposeAll,
  finished,
  launch,
  printed,
  provision,
  runToEnd,
  startTestPodman,
  testSpec,
} from '../support/podman.ts';

const failsWith = (code: string, message: RegExp) => (error: unknown) => {
  assert.ok(error instanceof FlashpodsError, String(error));
  assert.equal(error.code, code);
  assert.match(error.message, message);
  return true;
};

describe('the end of a container', () => {
  let podman: TestPodman;
  before(async () => {
    podman = await startTestPodman();
  });
  after(() => podman.end());

  const CODES: readonly (readonly [script: string, code: number])[] = [
    ['exit 0', 0],
    ['exit 1', 1],
    ['exit 125', 125],
    ['touch /tmp/f; /tmp/f', 126],
    ['no-such-command', 127],
    ['kill -9 $$', 137],
    ['kill -15 $$', 143],
  ];
  for (const [script, code] of CODES)
    it(`gives the true exit code ${code} of “${script}”`, async () => {
      assert.equal((await runToEnd(podman.runtime, { script })).state.exitCode, code);
    });

  it('is reported after the last line is in the spool', async () => {
    const { output } = await runToEnd(podman.runtime, { script: 'seq 200000' });
    assert.equal(output.length, 1_288_895);
    assert.ok(output.endsWith('\n200000\n'));
  });

  it('is noticed for many containers at once', async () => {
    const codes = await Promise.all(
      [3, 4, 5, 6].map(
        async (code) => (await runToEnd(podman.runtime, { script: `exit ${code}` })).state.exitCode,
      ),
    );
    assert.deepEqual(codes, [3, 4, 5, 6]);
  });

  it('has times, and is seen by inspect and list', async () => {
    const { runtime } = podman;
    const before = Date.now();
    const sandbox = await launch(runtime, { script: 'exit 7' });
    const { state } = await finished(sandbox);
    assert.ok(state.startedAt !== null && state.startedAt >= before && state.startedAt <= Date.now());
    assert.ok(state.finishedAt !== null && state.finishedAt >= state.startedAt);
    assert.deepEqual(await sandbox.inspect(), state);
    const found = (await runtime.sandboxes()).find((each) => each.sandbox.id === sandbox.id);
    assert.equal(found?.container?.phase, 'exited');
    assert.equal(found.container.exitCode, 7);
    await sandbox.dispose();
    assert.equal(await sandbox.inspect(), null);
    assert.equal(await sandbox.waitForExit(AbortSignal.timeout(5_000)), null);
  });

  it('stops being waited for when the caller wants to', async () => {
    const { runtime } = podman;
    const sandbox = await launch(runtime, { script: 'sleep 60' });
    const abort = new AbortController();
    const waiting = sandbox.waitForExit(abort.signal);
    abort.abort(new Error('enough'));
    await assert.rejects(waiting, /enough/);
    await sandbox.dispose();
  });

  it('never runs a command twice, however often it is started', async () => {
    const { runtime } = podman;
    const sandbox = await launch(runtime, { script: 'echo ran' });
    await sandbox.start();
    await finished(sandbox);
    await sandbox.start();
    assert.equal((await finished(sandbox)).output, 'ran\n');
    await sandbox.dispose();
  });

  it('refuses an image that is not here', async () => {
    const spec = testSpec({ image: 'localhost/no/such:image' });
    const { runtime } = podman;
    assert.equal(await runtime.hasImage(spec.image), false);
    await assert.rejects(
      runtime.ensureImage(spec.image, () => undefined, AbortSignal.timeout(5_000)),
      failsWith('image_pull_failed', /localhost\/no\/such:image/),
    );
    const sandbox = await provision(runtime, spec);
    await assert.rejects(sandbox.bind(spec), failsWith('container_start_failed', /not on this host/));
    await sandbox.dispose();
  });

  it('says what the registry, or the way to it, had against a pull', async () => {
    const waits = ['a', 'b'].map(() =>
      podman.runtime.ensureImage('localhost.invalid/x/y:1', () => undefined, AbortSignal.timeout(30_000)),
    );
    for (const wait of waits)
      await assert.rejects(
        wait,
        failsWith('image_pull_failed', /could not pull localhost\.invalid\/x\/y:1: .+/),
      );
  });

  it('answers for an image that is here with its digest', async () => {
    const { image } = testSpec();
    assert.equal(await podman.runtime.hasImage(image), true);
    const digest = await podman.runtime.ensureImage(image, () => undefined, AbortSignal.timeout(5_000));
    assert.match(digest, /^sha256:[0-9a-f]{64}$/);
  });

  it('says what an image lacks when it has no shell', async () => {
    const image = 'localhost/flashpods-test/empty:1';
    const file = join(podman.directory, 'empty.tar');
    writeFileSync(file, Buffer.alloc(10_240));
    execFileSync('podman', ['import', file, image], { stdio: 'ignore' });
    try {
      const sandbox = await launch(podman.runtime, { image, script: 'true' });
      const { state, output } = await finished(sandbox);
      assert.notEqual(state.exitCode, 0);
      assert.match(output, /failed to exec pid1: No such file or directory/);
    } finally {
      await disposeAll(podman.runtime);
      execFileSync('podman', ['rmi', '--force', image], { stdio: 'ignore' });
    }
  });
});

describe('ending a container', () => {
  let podman: TestPodman;
  before(async () => {
    podman = await startTestPodman();
  });
  after(() => podman.end());

  const running = async (script: string): Promise<Sandbox> => {
    const sandbox = await launch(podman.runtime, { script });
    await eventually('it runs', () => printed(sandbox).includes('ready'));
    return sandbox;
  };

  it('lets the trap of an inner command finish, and runs nothing after it', async () => {
    const inner = `trap "sleep 0.5; echo trapped; exit 3" TERM; echo ready; sleep 60 & wait`;
    const sandbox = await running(`bash -c '${inner}'; echo after`);
    await sandbox.terminate();
    const { output, state } = await finished(sandbox);
    assert.equal(output, 'ready\ntrapped\n');
    assert.equal(state.exitCode, 143);
  });

  it('lets a process in the background finish its trap', async () => {
    const daemon = `trap "sleep 0.3; echo trapped > /artifacts/d; exit" TERM; echo ready; sleep 60 & wait`;
    const sandbox = await running(`setsid bash -c '${daemon}' & sleep 60; echo after`);
    await sandbox.terminate();
    const { output } = await finished(sandbox);
    assert.equal(output, 'ready\n');
    assert.deepEqual(readdirSync(await sandbox.artifactsPath()), ['d']);
  });

  it('ends a command without any trap at once', async () => {
    const sandbox = await running('echo ready; sleep 60; echo after');
    const began = performance.now();
    await sandbox.terminate();
    const { output, state } = await finished(sandbox);
    assert.equal(output, 'ready\n');
    assert.equal(state.exitCode, 143);
    assert.ok(performance.now() - began < 3_000);
  });

  it('runs the command’s own trap once', async () => {
    const sandbox = await running('trap "echo bye; exit 0" TERM; echo ready; sleep 60 & wait');
    await sandbox.terminate();
    const { output, state } = await finished(sandbox);
    assert.equal(output, 'ready\nbye\n');
    assert.equal(state.exitCode, 0);
  });

  it('kills a tree of processes that ignores SIGTERM', async () => {
    const stubborn =
      'trap "" TERM; (trap "" TERM; setsid sh -c "while :; do sleep 1; done") & echo ready; while :; do sleep 1; done';
    const sandbox = await running(stubborn);
    await sandbox.terminate();
    assert.equal((await sandbox.inspect())?.phase, 'running');
    await sandbox.kill();
    assert.equal((await finished(sandbox)).state.exitCode, 137);
  });

  it('kills also while Podman does not run', async () => {
    const sandbox = await running('trap "" TERM; echo ready; while :; do sleep 1; done');
    const { pid } = podman.service;
    assert.ok(pid !== null);
    process.kill(pid, 'SIGKILL');
    await sandbox.kill();
    assert.equal((await finished(sandbox)).state.exitCode, 137);
  });

  it('removes a container that still runs, and its cgroup’s processes with it', async () => {
    const sandbox = await running('trap "" TERM; echo ready; while :; do sleep 1; done');
    await sandbox.remove();
    await sandbox.remove();
    assert.equal(await sandbox.inspect(), null);
    assert.ok(existsSync(await sandbox.artifactsPath()), 'artifacts stay until dispose');
    await sandbox.dispose();
  });
});
