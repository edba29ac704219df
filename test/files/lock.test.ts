import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { LockHeld, takeLock, wrestLock } from '../../src/files/lock.ts';
import { identifySelf, toRecord } from '../../src/lifecycle/process-identity.ts';
import { createLogger } from '../../src/observability/logger.ts';
import { scratch } from '../support/scratch.ts';

const fixture = new URL('fixtures/hold-lock.ts', import.meta.url).pathname;

describe('a lock that ends with its process', () => {
  const directory = scratch();
  const options = {
    patienceMs: 60_000,
    logger: createLogger({ level: 'silent', role: 'test' }),
    signal: new AbortController().signal,
  };
  let path: string;
  let holder: ChildProcess | null = null;

  beforeEach(async () => {
    await directory.make();
    path = directory.path('deep', 'down', 'it');
  });
  afterEach(async () => {
    if (holder === null || holder.exitCode !== null || holder.signalCode !== null) return;
    holder.kill('SIGKILL');
    await once(holder, 'exit');
  });

  async function hold(): Promise<ChildProcess> {
    const child = spawn(process.execPath, [fixture, path], { stdio: ['ignore', 'pipe', 'inherit'] });
    holder = child;
    await once(child.stdout, 'data');
    return child;
  }

  it('is refused while another process has it, which is named', async () => {
    const { pid } = await hold();
    assert.throws(
      () => takeLock(path),
      (error) =>
        error instanceof LockHeld && error.holder?.pid === pid && error.message.includes(`pid ${pid}`),
    );
  });

  it('is refused by another way to the same directory as well', async () => {
    await hold();
    const other = directory.path('other');
    symlinkSync(dirname(path), other);
    assert.throws(() => takeLock(join(other, 'it')), LockHeld);
  });

  it('is free once its holder was killed', async () => {
    const child = await hold();
    child.kill('SIGKILL');
    await once(child, 'exit');
    takeLock(path).release();
  });

  it('names nobody where the record is of another pid space', async () => {
    await hold();
    writeFileSync(
      `${path}.json`,
      JSON.stringify({ ...toRecord(identifySelf(), dirname(path)), pidSpace: 'elsewhere' }),
    );
    assert.throws(
      () => takeLock(path),
      (error) => error instanceof LockHeld && error.holder === null,
    );
  });

  it('is given back once, though release is called twice', () => {
    const first = takeLock(path);
    first.release();
    assert.ok(!existsSync(`${path}.json`));
    const second = takeLock(path);
    first.release();
    assert.throws(() => takeLock(path), LockHeld);
    assert.ok(existsSync(`${path}.json`));
    second.release();
  });

  it('is wrested at once from a process that is stopped', async () => {
    const child = await hold();
    child.kill('SIGSTOP');
    const lock = await wrestLock(path, options);
    assert.equal(child.signalCode ?? (await once(child, 'exit'))[1], 'SIGKILL');
    lock.release();
  });

  it('is wrested from a process that runs only after the patience', async () => {
    const child = await hold();
    const since = performance.now();
    const lock = await wrestLock(path, { ...options, patienceMs: 300 });
    assert.ok(performance.now() - since >= 300);
    assert.equal(child.signalCode ?? (await once(child, 'exit'))[1], 'SIGKILL');
    lock.release();
  });

  it('is not waited for once the signal is aborted', async () => {
    const child = await hold();
    const stop = new AbortController();
    const waiting = wrestLock(path, { ...options, signal: stop.signal });
    stop.abort(new Error('stopped'));
    await assert.rejects(waiting, /stopped/);
    assert.equal(child.exitCode, null);
  });
});
