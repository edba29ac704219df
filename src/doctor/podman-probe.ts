/** A Podman service to look at, and what this host can do with it: the very code that a worker begins with. */
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { PodmanClient } from '../containers/podman/service/http.ts';
import { createPodmanRuntime } from '../containers/podman/podman-runtime.ts';
import { type PodmanService, startPodmanService } from '../containers/podman/service/service.ts';
import type { ContainerRuntime } from '../containers/runtime.ts';
import { once } from '../lifecycle/once.ts';
import { runTrial, type Trial } from './trial.ts';

/** Ends by itself if nobody is left to end it. */
const IDLE_SECONDS = 120;
const PING_MS = 3_000;

export interface PodmanProbeOptions {
  readonly socketPath: string | undefined;
  /** Where the service of `up` would have its socket. */
  readonly runDir: string;
  readonly podmanRoot?: string | undefined;
  readonly idBase: number;
  readonly scratch: string;
}

export interface Podman {
  readonly socketPath: string;
  /** For a person: whose service it is. */
  readonly whose: 'configured' | 'that of `flashpods up`' | 'started for this check';
  readonly client: PodmanClient;
  readonly runtime: ContainerRuntime;
}

export class PodmanProbe {
  readonly #options: PodmanProbeOptions;
  #service: PodmanService | undefined;
  #found: Podman | undefined;
  #begun = false;
  #trial: Promise<unknown> | undefined;

  constructor(options: PodmanProbeOptions) {
    this.#options = options;
  }

  /** Starts a service for the time of the checks if none is there. @throws Error, FlashpodsError container_error */
  readonly get = once(async (): Promise<Podman> => {
    this.#begun = true;
    const { scratch, idBase } = this.#options;
    const { socketPath, whose, runDir } = await this.#reach();
    const client = new PodmanClient(socketPath);
    try {
      await client.call('GET', '/_ping', { timeoutMs: PING_MS }); // one that hangs is known soon
      const dataDir = join(scratch, 'host');
      mkdirSync(dataDir, { recursive: true });
      const runtime = await createPodmanRuntime({
        socketPath,
        hostName: 'doctor',
        deploymentId: `doctor-${process.pid}`,
        dataDir,
        runDir,
        idBase,
      });
      this.#found = { socketPath, whose, client, runtime };
      return this.#found;
    } catch (error) {
      client.close();
      throw error;
    }
  });

  /** {@link runTrial} in this Podman; {@link end} waits until nothing of it is left. */
  async try(trial: Trial, signal: AbortSignal): Promise<number | null> {
    const { runtime } = await this.get();
    const running = runTrial(runtime, trial, signal);
    this.#trial = running.catch(() => undefined);
    return running;
  }

  /** Ends what {@link get} started, also one that is still starting. */
  readonly end = once(async (): Promise<void> => {
    if (this.#begun) await this.get().catch(() => undefined);
    await this.#trial;
    await this.#found?.runtime.close();
    this.#found?.client.close();
    await this.#service?.stop();
  });

  async #reach(): Promise<Pick<Podman, 'socketPath' | 'whose'> & { readonly runDir: string }> {
    const { socketPath, runDir, podmanRoot, scratch } = this.#options;
    if (socketPath !== undefined) return { socketPath, whose: 'configured', runDir };
    const ofUp = join(runDir, 'podman.sock');
    if (existsSync(ofUp) && (await answers(ofUp)))
      return { socketPath: ofUp, whose: 'that of `flashpods up`', runDir };
    const ours = join(scratch, 'podman');
    this.#service = await startPodmanService({
      runDir: ours,
      idleSeconds: IDLE_SECONDS,
      ...(podmanRoot === undefined ? {} : { podmanRoot }),
    });
    return { socketPath: this.#service.socketPath, whose: 'started for this check', runDir: ours };
  }
}

async function answers(socketPath: string): Promise<boolean> {
  const client = new PodmanClient(socketPath);
  try {
    return await client.answers(PING_MS); // not when it was left by a service that is gone
  } finally {
    client.close();
  }
}
