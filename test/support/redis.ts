/** A private redis-server for one test file, in a directory of its own. */
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { type EmbeddedRedis, startEmbeddedRedis } from '../../queues/embedded-redis.ts';
import { createLogger, type Logger } from '../../src/observability/logger.ts';

export const silent: Logger = createLogger({ level: 'silent', role: 'test' });

/** A prefix that no other test uses. */
export const ownPrefix = (): string => `{test-${randomBytes(6).toString('hex')}}`;

export class TestRedis {
  readonly dir = mkdtempSync(join(tmpdir(), 'fp-redis-'));
  #server: EmbeddedRedis | undefined;

  static async start(): Promise<TestRedis> {
    const redis = new TestRedis();
    await redis.start();
    return redis;
  }

  get socketPath(): string {
    return join(this.dir, 'redis.sock');
  }

  get url(): string {
    return `unix://${this.socketPath}`;
  }

  get pid(): number {
    if (!this.#server) throw new Error('redis-server does not run');
    return this.#server.pid;
  }

  async start(): Promise<void> {
    this.#server = await startEmbeddedRedis({ dir: this.dir, socketPath: this.socketPath, logger: silent });
  }

  /** Ends the server in order; its data stay, and `start` brings it back. */
  async halt(): Promise<void> {
    await this.#server?.stop();
    this.#server = undefined;
  }

  async kill(): Promise<void> {
    process.kill(this.pid, 'SIGKILL');
    await this.#server?.exited;
    await this.halt();
  }

  /** Gone for a while, as in an outage. */
  async outage(ms: number): Promise<void> {
    await this.halt();
    await delay(ms);
    await this.start();
  }

  /** Ends the server and removes everything of it. */
  async stop(): Promise<void> {
    await this.halt();
    rmSync(this.dir, { recursive: true, force: true });
  }
}
