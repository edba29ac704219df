/**
 * Keeps every process of an installation alive as a service manager does, so that a storm may kill them: what ends, by
 * any cause, is started again after a moment. Notes how long each was away.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { systemCode } from '../../../src/errors.ts';
import { identify } from '../../../src/lifecycle/process-identity.ts';
import { listContainers } from '../../support/podman-ps.ts';
import type { Stack, WorkerSize } from '../../support/stack.ts';

export const KINDS = ['worker', 'api', 'redis', 'podman'] as const;
export type Kind = (typeof KINDS)[number];

/** One time that something was away. */
export interface Outage {
  readonly kind: Kind;
  readonly name: string;
  /** False: it ended by itself, with this exit code. */
  readonly killed: boolean;
  readonly exitCode: number | null;
  /** From its end until it served again, ms. */
  readonly ms: number;
}

interface Service {
  readonly kind: Kind;
  readonly name: string;
  /** Of the newest process. */
  pid(): number | null;
  /** Resolves with the exit code, if there is one, when the newest process has ended. */
  ended(): Promise<number | null>;
  /** Starts it again. @returns whether it serves; false when it ended before it did */
  again(): Promise<boolean>;
}

export interface UpkeepOptions {
  readonly stack: Stack;
  readonly hosts: readonly WorkerSize[];
  readonly random: () => number;
  /** A process is started again after at most this time, ms. */
  readonly restartWithinMs: number;
}

const LOOK_MS = 25;

export class Upkeep {
  readonly outages: Outage[] = [];
  readonly #o: UpkeepOptions;
  readonly #services: readonly Service[];
  /** In 500 kills pids come round again, so each is named with its start time. */
  readonly #killed = new Set<string>();
  readonly #away = new Set<Service>();
  readonly #loops: Promise<void>[];
  #stopping = false;

  constructor(options: UpkeepOptions) {
    this.#o = options;
    const { hosts } = options;
    this.#services = [...hosts.map((host) => this.#worker(host)), this.#api(), this.#redis(), this.#podman()];
    this.#loops = this.#services.map((service) => this.#keep(service));
  }

  /** Kills one that runs or is starting, chosen at random. @returns what it was; null when nothing is there to kill */
  kill(): Kind | null {
    const alive = this.#services.filter((service) => this.#lives(service));
    const victim = alive[Math.floor(this.#o.random() * alive.length)];
    const pid = victim?.pid() ?? null;
    const name = nameOf(pid);
    if (!victim || pid === null || name === null) return null;
    try {
      process.kill(pid, 'SIGKILL');
    } catch (error) {
      if (systemCode(error) === 'ESRCH') return null; // it has just ended by itself
      throw error;
    }
    this.#killed.add(name);
    return victim.kind;
  }

  /** Waits until everything serves again. */
  async calm(): Promise<void> {
    const isAway = (service: Service): boolean => this.#away.has(service) || !this.#lives(service);
    while (this.#services.some(isAway)) await delay(LOOK_MS);
  }

  #lives(service: Service): boolean {
    const name = nameOf(service.pid());
    return name !== null && !this.#killed.has(name);
  }

  /** Keeps nothing alive any more. Call it before the processes are ended. */
  stop(): void {
    this.#stopping = true;
  }

  /** Resolves when all that was kept has ended. */
  async ended(): Promise<void> {
    await Promise.all(this.#loops);
  }

  async #keep(service: Service): Promise<void> {
    const { kind, name } = service;
    const { random, restartWithinMs } = this.#o;
    for (;;) {
      const incarnation = nameOf(service.pid());
      const exitCode = await service.ended();
      if (this.#stopping) return;
      this.#away.add(service);
      const since = performance.now();
      do await delay(random() * restartWithinMs);
      while (!(await service.again()) && !this.#stopping);
      this.#away.delete(service);
      const killed = incarnation !== null && this.#killed.has(incarnation);
      this.outages.push({ kind, name, killed, exitCode, ms: performance.now() - since });
    }
  }

  #worker(host: WorkerSize): Service {
    const { stack } = this.#o;
    const generation = async (): Promise<number> => {
      const { hosts } = await stack.queues.semaphore.view();
      return hosts.find((each) => each.name === host.name && each.synchronised)?.generation ?? 0;
    };
    let last = 0;
    return {
      kind: 'worker',
      name: host.name,
      pid: () => stack.worker(host.name).pid,
      ended: async () => (await stack.worker(host.name).exited).code,
      again: async () => {
        const { exited } = stack.launchWorker(host);
        return this.#until(exited, async () => {
          const now = await generation();
          if (now <= last) return false;
          last = now;
          return true;
        });
      },
    };
  }

  #api(): Service {
    const { stack } = this.#o;
    return {
      kind: 'api',
      name: 'api',
      pid: () => stack.api.pid,
      ended: async () => (await stack.api.exited).code,
      again: async () => {
        const answers = stack.startApi().then(
          () => true,
          () => false,
        );
        return Promise.race([answers, stack.api.exited.then(() => false)]);
      },
    };
  }

  #redis(): Service {
    const { stack } = this.#o;
    return {
      kind: 'redis',
      name: 'redis',
      pid: () => stack.redis.pid,
      ended: async () => {
        await stack.redis.exited;
        return null;
      },
      again: async () => {
        await stack.startRedis();
        return true;
      },
    };
  }

  /** The product's own supervision starts this one again. */
  #podman(): Service {
    const { podman } = this.#o.stack;
    return {
      kind: 'podman',
      name: 'podman',
      pid: () => podman.pid,
      ended: async () => {
        const { pid } = podman;
        while (podman.pid === pid && !this.#stopping) await delay(LOOK_MS);
        return null;
      },
      again: () =>
        this.#until(new Promise(() => undefined), async () => {
          await listContainers(podman.socketPath, {});
          return true;
        }),
    };
  }

  /** @returns whether `serves` came true before the process ended; a question that fails was asked too early */
  async #until(exited: Promise<unknown>, serves: () => Promise<boolean>): Promise<boolean> {
    let ended = false;
    void exited.then(() => (ended = true));
    while (!ended && !this.#stopping) {
      if (await serves().catch(() => false)) return true;
      await delay(LOOK_MS);
    }
    return false;
  }
}

/** @returns null when it has ended */
function nameOf(pid: number | null): string | null {
  const id = pid === null ? null : identify(pid);
  return id && `${id.pid} ${id.startTicks}`;
}
