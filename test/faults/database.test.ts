import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { checkAftermath } from './harness/aftermath.ts';
import { type FaultScene, startScene } from './harness/scene.ts';

const HOST = { name: 'database', cpus: 6, memoryGb: 6 };
const LOCKED_MS = 10_000;
const SQLITE = createRequire(import.meta.url).resolve('better-sqlite3');
/** Holds the database's write lock from `locked` on. */
const HOLDER = `
  const database = new (require(process.argv[1]))(process.argv[2]);
  database.exec('BEGIN EXCLUSIVE');
  console.log('locked');
  setTimeout(() => { database.exec('ROLLBACK'); console.log('free'); }, Number(process.argv[3]));
`;

describe('a database that another process holds for ten seconds', () => {
  let scene: FaultScene;
  let holder: ChildProcess | undefined;
  before(async () => {
    scene = await startScene({ hosts: [HOST] });
  });
  after(async () => {
    holder?.kill('SIGKILL');
    await scene.stop();
  });

  it('while jobs are made, start, run and end: the API answers, and nothing is lost', async () => {
    const { caller } = scene.stack;
    const ending = [await scene.submit({ gated: true, exitCode: 3 }), await scene.submit({ gated: true })];
    for (const { told } of ending) await told.hasBegun();
    const running = await scene.submit({ gated: true });
    await running.told.hasBegun();
    // On their way to the host when the lock comes: two of them start now and two have to wait for room.
    const starting = Promise.all(
      Array.from({ length: 4 }, () => scene.submit({ cpus: 2, script: 'sleep 0.2' })),
    );
    const file = join(scene.dir, 'flashpods.db');
    holder = spawn(process.execPath, ['-e', HOLDER, SQLITE, file, String(LOCKED_MS)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    assert.ok(holder.stdout);
    await once(holder.stdout, 'data');
    let locked = true;
    const freed = once(holder.stdout, 'data').then(() => (locked = false));
    for (const { told } of ending) told.open();
    const created = scene.submit({ exitCode: 2 });
    const slow: string[] = [];
    let answers = 0;
    while (locked) {
      const begun = performance.now();
      const states = await Promise.all(
        ['/capacity', `/jobs/${running.id}`, '/jobs?limit=10'].map(
          async (path) => (await caller.json('GET', path)).status,
        ),
      );
      const ms = performance.now() - begun;
      assert.deepEqual(states, [200, 200, 200]);
      answers += states.length;
      if (ms > 2_000) slow.push(`${Math.round(ms)} ms`);
    }
    assert.deepEqual(slow, [], 'answers that took more than two seconds');
    assert.ok(answers > 30, `${answers} answers`);
    await freed;
    await created;
    await starting;
    running.told.open();
    await checkAftermath(scene);
  });
});
