/**
 * Images in use are held against removal: Podman knows nothing of what an overlay of ours is made of, but it removes no
 * image of which there is a container. So there is one for each image in use, that never runs. All of them are in one pod:
 * what prunes containers takes those that don't run, and leaves those of pods. One stays a while after the last job,
 * because making it costs as much as a start. `podman rmi --force` takes it with its image; nothing of Podman's stops that.
 */
import { createHash } from 'node:crypto';
import { messageOf } from '../../../errors.ts';
import type { Logger } from '../../../observability/logger.ts';
import { NOTHING_ELSE_OF_THE_IMAGE } from '../container/create-spec.ts';
import { LABELS } from '../container/labels.ts';
import { isRecord } from '../../../is-record.ts';
import { PodmanApiError, type PodmanClient } from '../service/http.ts';

export interface HoldsOptions {
  readonly podman: PodmanClient;
  readonly hostName: string;
  readonly deploymentId: string;
  /** How long an image stays held after its last job. */
  readonly idleMs: number;
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
  /** Called when an image was let go. */
  onLetGo: () => void = () => undefined;

  constructor(options: HoldsOptions) {
    this.#options = options;
  }

  /** Ids of the images that a sandbox uses. */
  inUse(): ReadonlySet<string> {
    return new Set([...this.#holds].flatMap(([image, { users }]) => (users.size > 0 ? [image] : [])));
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
      hold.idle = setTimeout(() => void this.#letGoOrSay(image, hold), this.#options.idleMs).unref();
    }
  }

  /** Lets go at once of an image that no sandbox uses. @throws when Podman does not answer */
  async letGoIdle(image: string): Promise<void> {
    const hold = this.#holds.get(image);
    if (hold === undefined || hold.users.size > 0) return;
    clearTimeout(hold.idle);
    await this.#letGo(image, hold);
  }

  /** Holds what earlier processes left in use, and nothing else of what they held. @throws when Podman does not answer */
  async takeOver(used: readonly { readonly image: string; readonly sandbox: string }[]): Promise<void> {
    const { podman, hostName, deploymentId } = this.#options;
    for (const { image, sandbox } of used) await this.hold(image, sandbox).catch(unlessGone);
    const label = [LABELS.holds, `${LABELS.host}=${hostName}`, `${LABELS.deployment}=${deploymentId}`];
    const query = { all: true, filters: JSON.stringify({ label }) };
    const { body } = await podman.call('GET', '/containers/json', { query });
    for (const container of Array.isArray(body) ? body.filter(isRecord) : []) {
      const labels = isRecord(container['Labels']) ? container['Labels'] : {};
      const image = String(labels[LABELS.holds]);
      const isUsed = this.#holds.has(image);
      // Versions before had no pod.
      if (isUsed && container['Pod'] !== '') continue;
      await this.#remove('containers', String(container['Id']));
      if (isUsed) await this.#make(image).catch(unlessGone);
    }
  }

  /** Holds of jobs that go on stay, for the next process. */
  async close(): Promise<void> {
    for (const [image, hold] of this.#holds) {
      clearTimeout(hold.idle);
      if (hold.users.size === 0) await this.#letGoOrSay(image, hold);
    }
    // Else the next process does it.
    if (this.#holds.size === 0) await this.#removeEmptyPod().catch(() => undefined);
  }

  async #make(image: string): Promise<void> {
    const { podman, hostName, deploymentId } = this.#options;
    const body = {
      name: this.#name(image),
      pod: this.#pod,
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
    const create = () => podman.call('POST', '/containers/create', { body, timeoutMs: 60_000 });
    await create()
      .catch(async (error: unknown) => {
        if (!(error instanceof PodmanApiError) || isThere(error)) throw error;
        // The first of a host, or somebody took the pod away; of anything else the second attempt tells.
        await this.#makePod();
        return create();
      })
      .catch((error: unknown) => {
        // Made by a process before this one, or by a call whose answer was lost.
        if (!isThere(error)) throw error;
      });
  }

  /** Without a container of its own. */
  async #makePod(): Promise<void> {
    const { podman, hostName, deploymentId } = this.#options;
    const labels = { [LABELS.host]: hostName, [LABELS.deployment]: deploymentId };
    const body = { name: this.#pod, no_infra: true, labels };
    await podman.call('POST', '/pods/create', { body, timeoutMs: 60_000 }).catch((error: unknown) => {
      if (!isThere(error)) throw error;
    });
  }

  /** Podman would take containers with it, and another process of this host may have begun to hold images. */
  async #removeEmptyPod(): Promise<void> {
    const { body } = await this.#options.podman.call('GET', `/pods/${this.#pod}/json`);
    const containers = isRecord(body) ? body['Containers'] : null;
    if (!Array.isArray(containers) || containers.length === 0) await this.#remove('pods', this.#pod);
  }

  async #letGo(image: string, hold: Hold): Promise<void> {
    await hold.made?.catch(() => undefined);
    if (hold.users.size > 0) return;
    const removed = this.#remove('containers', this.#name(image));
    // Who comes meanwhile waits, and makes it again.
    const again = removed.then(() => (hold.users.size > 0 ? this.#make(image) : undefined));
    hold.made = again;
    again.catch(() => (hold.made = null));
    await again;
    if (hold.users.size === 0) this.#holds.delete(image);
    this.onLetGo();
  }

  /** What is held too long harms nobody. */
  async #letGoOrSay(image: string, hold: Hold): Promise<void> {
    try {
      await this.#letGo(image, hold);
    } catch (error) {
      this.#options.logger.warn({ image, reason: messageOf(error) }, 'could not let an image go');
    }
  }

  async #remove(what: 'pods' | 'containers', name: string): Promise<void> {
    try {
      const query = { force: true, timeout: 0, v: true };
      await this.#options.podman.call('DELETE', `/${what}/${name}`, { query });
    } catch (error) {
      if (!(error instanceof PodmanApiError && error.status === 404)) throw error;
    }
  }

  /** Of all holds of this host. */
  get #pod(): string {
    return this.#name('');
  }

  #name(image: string): string {
    const { hostName, deploymentId } = this.#options;
    const of = createHash('sha256').update(`${hostName}/${deploymentId}/${image}`).digest('hex').slice(0, 16);
    return `flashpods-holds-${of}`;
  }
}

/** The image is gone, and what was made of it ends. */
const unlessGone = (error: unknown): void => {
  if (!(error instanceof PodmanApiError)) throw error;
};

const isThere = (error: unknown): boolean =>
  error instanceof PodmanApiError && /already (in use|exists)/.test(error.message);
