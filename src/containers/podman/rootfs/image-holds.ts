/**
 * Images in use are held against removal: Podman knows nothing of what an overlay of ours is made of, but it removes no
 * image of which there is a container. So there is one for each image in use, that never runs. It stays a while after
 * the last job, because making it costs as much as a start.
 */
import { createHash } from 'node:crypto';
import { messageOf } from '../../../errors.ts';
import type { Logger } from '../../../observability/logger.ts';
import { NOTHING_ELSE_OF_THE_IMAGE } from '../container/create-spec.ts';
import { LABELS } from '../container/labels.ts';
import { isRecord, PodmanApiError, type PodmanClient } from '../service/http.ts';

const IDLE_MS = 60_000;

export interface HoldsOptions {
  readonly podman: PodmanClient;
  readonly hostName: string;
  readonly deploymentId: string;
  readonly logger: Pick<Logger, 'warn'>;
}

interface Hold {
  /** Ids of the sandboxes that use the image. */
  readonly users: Set<string>;
  /** Null until the container is made, and again when it was to be removed. */
  made: Promise<void> | null;
  idle: NodeJS.Timeout | undefined;
}

export class ImageHolds {
  readonly #options: HoldsOptions;
  readonly #holds = new Map<string, Hold>();

  constructor(options: HoldsOptions) {
    this.#options = options;
  }

  /** @param image id @throws PodmanApiError when there is no such image */
  hold(image: string, sandbox: string): Promise<void> {
    const hold = this.#holds.get(image) ?? { users: new Set<string>(), made: null, idle: undefined };
    this.#holds.set(image, hold);
    hold.users.add(sandbox);
    clearTimeout(hold.idle);
    if (hold.made !== null) return hold.made;
    const made = this.#make(image);
    hold.made = made;
    made.catch(() => (hold.made = null)); // the next one tries again
    return made;
  }

  /** The sandbox is gone. Idempotent. */
  release(sandbox: string): void {
    for (const [image, hold] of this.#holds) {
      if (!hold.users.delete(sandbox) || hold.users.size > 0) continue;
      clearTimeout(hold.idle);
      hold.idle = setTimeout(() => void this.#letGo(image, hold), IDLE_MS).unref();
    }
  }

  /** Holds what earlier processes left in use, and nothing else of what they held. @throws when Podman does not answer */
  async takeOver(used: readonly { readonly image: string; readonly sandbox: string }[]): Promise<void> {
    const { podman, hostName, deploymentId } = this.#options;
    for (const { image, sandbox } of used)
      await this.hold(image, sandbox).catch((error: unknown) => {
        if (!(error instanceof PodmanApiError)) throw error; // else the image is gone, and what was made of it ends
      });
    const label = [LABELS.holds, `${LABELS.host}=${hostName}`, `${LABELS.deployment}=${deploymentId}`];
    const query = { all: true, filters: JSON.stringify({ label }) };
    const { body } = await podman.call('GET', '/containers/json', { query });
    for (const container of Array.isArray(body) ? body.filter(isRecord) : []) {
      const labels = isRecord(container['Labels']) ? container['Labels'] : {};
      if (!this.#holds.has(String(labels[LABELS.holds]))) await this.#remove(String(container['Id']));
    }
  }

  /** Holds of jobs that go on stay, for the next process. */
  async close(): Promise<void> {
    for (const [image, hold] of this.#holds) {
      clearTimeout(hold.idle);
      if (hold.users.size === 0) await this.#letGo(image, hold);
    }
  }

  async #make(image: string): Promise<void> {
    const { podman, hostName, deploymentId } = this.#options;
    const body = {
      name: this.#name(image),
      image,
      entrypoint: ['true'],
      command: [],
      image_volume_mode: 'ignore',
      ...NOTHING_ELSE_OF_THE_IMAGE.body,
      labels: {
        ...NOTHING_ELSE_OF_THE_IMAGE.labels,
        [LABELS.holds]: image,
        [LABELS.host]: hostName,
        [LABELS.deployment]: deploymentId,
      },
    };
    await podman.call('POST', '/containers/create', { body, timeoutMs: 60_000 }).catch((error: unknown) => {
      // Made by a process before this one, or by a call whose answer was lost.
      if (!(error instanceof PodmanApiError && error.message.includes('already in use'))) throw error;
    });
  }

  async #letGo(image: string, hold: Hold): Promise<void> {
    await hold.made?.catch(() => undefined);
    if (hold.users.size > 0) return;
    const removed = this.#remove(this.#name(image));
    // Who comes meanwhile waits, and makes it again.
    const again = removed.then(() => (hold.users.size > 0 ? this.#make(image) : undefined));
    hold.made = again;
    again.catch(() => (hold.made = null));
    try {
      await again;
      if (hold.users.size === 0) this.#holds.delete(image);
    } catch (error) {
      this.#options.logger.warn({ image, reason: messageOf(error) }, 'could not let an image go');
    }
  }

  async #remove(container: string): Promise<void> {
    try {
      const query = { force: true, timeout: 0, v: true };
      await this.#options.podman.call('DELETE', `/containers/${container}`, { query });
    } catch (error) {
      if (!(error instanceof PodmanApiError && error.status === 404)) throw error;
    }
  }

  #name(image: string): string {
    const { hostName, deploymentId } = this.#options;
    const of = createHash('sha256').update(`${hostName}/${deploymentId}/${image}`).digest('hex').slice(0, 16);
    return `flashpods-holds-${of}`;
  }
}
