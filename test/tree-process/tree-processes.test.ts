import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { PassThrough, Readable } from 'node:stream';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { LocalArtifactStore } from '../../src/artifacts/local-artifact-store.ts';
import { TreeProcesses, TreeProcessLost } from '../../src/tree-process/tree-processes.ts';
import { eventually } from '../support/eventually.ts';
import { temporaryDirectory } from '../support/scratch.ts';
import { make } from '../trees/hostile.ts';
import { rawEntry, rawTar } from '../uploads/tar/raw-tar.ts';

const limits = { maxBytes: 2 ** 30 };

const TREE_PROCESSES = new URL('../../src/tree-process/tree-processes.ts', import.meta.url).href;

/** As the kernel says it; null when there is no such process. */
const stateOf = (pid: number): string | null => {
  try {
    return / \(.*\) (\S) /s.exec(readFileSync(`/proc/${pid}/stat`, 'utf8'))?.[1] ?? null;
  } catch {
    return null; // it has ended
  }
};

/** Tree processes of a process. */
const children = (of = process.pid): number[] =>
  readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        const parent = / \(.*\) \S (\d+) /s.exec(readFileSync(`/proc/${pid}/stat`, 'utf8'))?.[1];
        const command = readFileSync(`/proc/${pid}/cmdline`, 'latin1');
        return parent === String(of) && command.includes('tree-process');
      } catch {
        return false; // it has ended
      }
    });

describe('tree processes', () => {
  let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
  let tree: string;
  beforeEach(async () => {
    directory = await temporaryDirectory();
    tree = join(directory.path, 'tree');
    await mkdir(tree);
  });
  afterEach(async () => {
    await eventually('those that nobody needs have ended', () => children().length === 0);
    await directory.remove();
  });

  const unpack = (trees: TreeProcesses, tar: Buffer) =>
    trees.run('unpack', { path: tree, encoding: 'identity', limits }, { input: Readable.from([tar]) });

  it('are used again, after a failure too, and end when nobody needs them', async () => {
    const trees = new TreeProcesses();
    await unpack(trees, rawTar({ name: 'a', content: 'x' }));
    // The end of its input may come after its result; until then another does the work.
    await eventually('one does all', async () => {
      await trees.run('measure', { path: tree });
      return children().length === 1;
    });
    const before = children();
    const request = {
      source: join(tree, 'none'),
      limits: { maxFileBytes: 1, maxTotalBytes: 1, maxFiles: 1 },
    };
    const destination = join(directory.path, 'artifacts', 'job_1');
    await assert.rejects(trees.run('collect', { destination, request }), {
      code: 'artifact_copy_container_gone',
    });
    const { received } = await unpack(trees, rawTar({ name: 'b', content: 'y' }));
    assert.deepEqual(received, { files: 1, bytes: 1 });
    assert.deepEqual(children(), before);
    await eventually('it has ended', () => children().length === 0);
  });

  it('count the directories that a tar makes without an entry like all others', async () => {
    const trees = new TreeProcesses();
    const deep = Array.from({ length: 200 }, (_, at) => ({
      name: `${at}/${'a/'.repeat(40 + (at % 5))}f`,
      content: 'x',
    }));
    const stated = { name: 'stated/also/', type: '5' };
    const { weightBytes, spent } = await unpack(trees, rawTar(...deep, stated));
    const measured = await trees.run('measure', { path: tree });
    assert.deepEqual([spent.entries, weightBytes], [measured.entries, measured.weightBytes]);
    assert.ok(measured.entries > 8_000);
  });

  it('have no variables of their parent, and go first when memory is short', async () => {
    const trees = new TreeProcesses();
    process.env['FLASHPODS_TEST_SECRET'] = 'secret';
    try {
      await trees.run('measure', { path: tree });
    } finally {
      delete process.env['FLASHPODS_TEST_SECRET'];
    }
    const [pid] = children();
    assert.ok(!readFileSync(`/proc/${pid}/environ`, 'latin1').includes('secret'));
    assert.equal(readFileSync(`/proc/${pid}/oom_score_adj`, 'latin1').trim(), '800');
  });

  it('are ended with what they do, at once when it does not end by itself', async () => {
    const trees = new TreeProcesses();
    const stop = new AbortController();
    const input = new PassThrough();
    const running = trees.run(
      'unpack',
      { path: tree, encoding: 'identity', limits },
      { input, signal: stop.signal },
    );
    input.write(rawEntry({ name: 'whole', content: 'x' }));
    input.write(rawEntry({ name: 'half', content: 'x'.repeat(1e6) }).subarray(0, 5000));
    await eventually('the file is begun', async () => (await readdir(tree)).length === 2);
    const [pid] = children();
    process.kill(pid ?? 0, 'SIGSTOP');
    stop.abort(new Error('the client left'));
    await assert.rejects(running, /the client left/);
    assert.ok(!children().includes(pid ?? 0));
    input.destroy();
  });

  it('may die: what they did fails, and all else goes on', async () => {
    const trees = new TreeProcesses();
    const input = new PassThrough();
    const running = trees.run('unpack', { path: tree, encoding: 'identity', limits }, { input });
    input.write(rawEntry({ name: 'half', content: 'x'.repeat(1e6) }).subarray(0, 5000));
    await eventually('the file is begun', async () => (await readdir(tree)).length === 1);
    for (const pid of children()) process.kill(pid, 'SIGKILL');
    await assert.rejects(
      running,
      (error) => error instanceof TreeProcessLost && error.code === 'service_unavailable',
    );
    input.destroy();
    assert.equal((await trees.run('measure', { path: tree })).fileCount, 1);
  });

  it('that can’t be made are an answer, and end nobody', async () => {
    const script = `
      const { TreeProcesses } = await import(${JSON.stringify(TREE_PROCESSES)});
      const { openSync } = await import('node:fs');
      const trees = new TreeProcesses();
      try { for (;;) openSync('/dev/null'); } catch {}
      trees.warm();
      console.log(await trees.run('measure', { path: '/' }).catch((error) => error.code));`;
    const command = [process.execPath, '--input-type=module', '-e', script];
    const { stdout } = await promisify(execFile)('prlimit', ['--nofile=64', ...command]);
    assert.equal(stdout, 'service_unavailable\n');
  });

  it('die with their parent, also in the midst of work', async () => {
    const script = `
      const { TreeProcesses } = await import(${JSON.stringify(TREE_PROCESSES)});
      const { Readable } = await import('node:stream');
      const never = new ReadableStream();
      const trees = new TreeProcesses();
      void trees.run('unpack', { path: ${JSON.stringify(tree)}, encoding: 'identity', limits: { maxBytes: 1 } },
        { input: Readable.fromWeb(never) });`;
    const parent = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: 'inherit' });
    const ofParent = (): number[] => children(parent.pid);
    await eventually('it has one', () => ofParent().length === 1);
    const [pid = 0] = ofParent();
    // One that is stopped hears of nothing, as one that is busy with itself.
    process.kill(pid, 'SIGSTOP');
    parent.kill('SIGKILL');
    await eventually('it is gone', () => {
      const state = stateOf(pid);
      return state === null || state === 'Z';
    });
  });

  it('collect artifacts, and a collection that dies leaves nothing but the failure of its job', async () => {
    await make(tree, 'perl -e \'for (1 .. 3000) { open F, ">", "n" x 200 . $_ }\'');
    const artifacts = join(directory.path, 'artifacts');
    const store = new LocalArtifactStore(artifacts, new TreeProcesses({ heapMb: 12 }));
    const request = { source: tree, limits: { maxFileBytes: 1e6, maxTotalBytes: 1e6, maxFiles: 10 } };
    await assert.rejects(store.collect('job_1', request), {
      code: 'artifact_copy_failed',
      message: /not the memory/,
    });
    assert.deepEqual(await readdir(artifacts).catch(() => []), []);
    const enough = new LocalArtifactStore(artifacts);
    assert.equal((await enough.collect('job_1', request)).artifacts.length, 10);
  });
});
