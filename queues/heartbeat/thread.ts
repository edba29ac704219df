/** The thread behind {@link Heartbeat}; see there. */
import { type MessagePort, parentPort, workerData } from 'node:worker_threads';
import { createLogger } from '../../src/observability/logger.ts';
import { Bell } from '../../src/timing/bell.ts';
import { connect, disconnect } from '../connection.ts';
import { createKeys } from '../keys.ts';
import { isRefusal } from '../semaphore/refusal.ts';
import { type BeatAnswer, Semaphore } from '../semaphore/semaphore.ts';
import type { HeartbeatOrder, HeartbeatTask } from './heartbeat.ts';

/** After a heartbeat that came to nothing. */
const AGAIN_MS = 500;

async function run(port: MessagePort, task: HeartbeatTask): Promise<void> {
  // The process's own connections tell of outages already.
  const connection = connect(task.redisUrl, 'producer', createLogger({ level: 'silent', role: 'heartbeat' }));
  const semaphore = new Semaphore(connection, createKeys(task.prefix));
  let generation: number | null = null;
  let stopping = false;
  const bell = new Bell();
  port.on('message', (order: HeartbeatOrder) => {
    if (order === 'stop') stopping = true;
    else if (order !== 'now') ({ generation } = order);
    bell.ring();
  });
  // Else the first heartbeat would fail, and be late by AGAIN_MS.
  connection.on('ready', bell.ring);

  let turns = -1;
  let turnedAt = performance.now();
  const lives = (): boolean => {
    const now = Atomics.load(task.turns, 0);
    if (now !== turns) {
      turns = now;
      turnedAt = performance.now();
    }
    return performance.now() - turnedAt < task.deadMs;
  };

  while (!stopping) {
    const answer = generation !== null && lives() ? await beat(semaphore, task.host, generation) : 'failed';
    if (answer !== 'failed') port.postMessage(answer);
    await bell.wait(answer === 'failed' ? Math.min(AGAIN_MS, task.everyMs) : task.everyMs);
  }
  await disconnect(connection);
  port.close();
}

async function beat(
  semaphore: Semaphore,
  host: string,
  generation: number,
): Promise<BeatAnswer | 'fenced' | 'failed'> {
  try {
    return await semaphore.beat(host, generation);
  } catch (error) {
    // Redis is away: the next try finds it.
    return isRefusal(error, 'fenced') ? 'fenced' : 'failed';
  }
}

if (!parentPort) throw new Error('this file is the beginning of a thread');
await run(parentPort, workerData as HeartbeatTask);
