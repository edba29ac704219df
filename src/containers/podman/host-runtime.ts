/** {@link ContainerRuntime} for Podman, through the HTTP API of `podman system service`. */
import { FlashpodsError, messageOf } from '../../errors.ts';
import { containerName } from '../../ids.ts';
import { once } from '../../lifecycle/once.ts';
import type { HostImage } from '../../images/image.ts';
import type { ImageRemoval, RemovalOutcome } from '../../hosts/removal.ts';
import type { Caches } from '../caches.ts';
import type { PackageLayers, WantedLayer } from '../package-layers.ts';
import type { ContainerRuntime, ContainerState, FoundSandbox, HeldDisk, RuntimeFacts } from '../runtime.ts';
import type { ProvisionRequest, Sandbox } from '../sandbox.ts';
import { asContainerError, Container } from './container/container.ts';
import { ExitWatch } from './container/exit-watch.ts';
import { LABELS } from './container/labels.ts';
import { localName } from './container/root.ts';
import { listedStates } from './container/state.ts';
import type { Logger } from '../../observability/logger.ts';
import { guardSpools, type SpoolGuardOptions } from './sandbox/spool-guard.ts';
import type { SandboxParts } from './sandbox/sandbox.ts';
import { Sandboxes } from './sandbox/sandboxes.ts';

export interface RuntimeParts extends Omit<SandboxParts, 'exits' | 'coresInUse' | 'logger'> {
  readonly facts: RuntimeFacts;
  readonly root: string;
  readonly caches: Caches | null;
  /** What the spools may take of the disk. */
  readonly spools?: Pick<SpoolGuardOptions, 'maxBytes' | 'lock'>;
  readonly logger: Pick<Logger, 'info' | 'warn' | 'error'>;
}

export class HostRuntime implements ContainerRuntime {
  readonly facts: RuntimeFacts;
  readonly packages: PackageLayers | null;
  readonly caches: Caches | null;
  readonly #parts: RuntimeParts;
  readonly #exits = new ExitWatch();
  readonly #sandboxes: Sandboxes;
  readonly #letGuardGo: () => Promise<void>;

  constructor(parts: RuntimeParts) {
    this.#parts = parts;
    this.facts = parts.facts;
    this.packages = parts.packages;
    this.caches = parts.caches;
    this.#sandboxes = new Sandboxes(parts.root, { ...parts, exits: this.#exits });
    const { spools, root, logger } = parts;
    this.#letGuardGo = spools ? guardSpools({ ...spools, root, logger }) : () => Promise.resolve();
  }

  async images(): Promise<readonly HostImage[]> {
    return [...(await this.#parts.images.list()), ...(this.packages?.list() ?? [])];
  }

  async hasImage(image: string): Promise<boolean> {
    return (await localName(this.#parts.images, image)) !== null;
  }

  async ensureImage(image: string, onProgress: (line: string) => void, signal: AbortSignal): Promise<string> {
    return await this.#parts.images.ensure(image, onProgress, signal);
  }

  async removeImage({ reference, packages, owner }: ImageRemoval): Promise<RemovalOutcome['state']> {
    const { images, roots, packages: layers } = this.#parts;
    const isIt = (layer: WantedLayer): boolean =>
      layer.image === reference &&
      (owner === null || layer.owner === owner) &&
      layer.packages.join() === packages.join();
    if (packages.length > 0) return (await layers?.remove(isIt)) === false ? 'in use' : 'removed';
    const id = await images.idOf(reference);
    if (id === null) return 'removed';
    await roots?.letGoIdle(id).catch((error: unknown) => {
      throw asContainerError(error);
    });
    if (!(await images.remove(reference))) return 'in use';
    // They are layers of this image alone; one that a job uses goes later, as those do that nobody uses.
    if (!(await images.isHere(id))) await layers?.remove(({ imageId }) => imageId === id);
    return 'removed';
  }

  async provision(request: ProvisionRequest): Promise<Sandbox> {
    const sandbox = this.#sandboxes.create(request);
    try {
      sandbox.provision();
    } catch (error) {
      await sandbox.dispose().catch(() => undefined); // the next reconciliation finds it
      throw new FlashpodsError(
        'container_start_failed',
        `could not make the job's sandbox: ${messageOf(error)}`,
        { cause: error },
      );
    }
    return sandbox;
  }

  async find(jobId: string, epoch: number): Promise<Sandbox | null> {
    const known = this.#sandboxes.boundTo(jobId, epoch);
    if (known) return known;
    // Somebody may have removed all but the container.
    const { podman, logger, host } = this.#parts;
    const name = containerName(jobId, epoch);
    const container = await new Container(name, podman, logger, host.deploymentId).inspect();
    return container && this.#sandboxes.of(container);
  }

  async sandboxes(): Promise<readonly FoundSandbox[]> {
    const contained = (await this.#containers()).map((container) => ({
      sandbox: this.#sandboxes.of(container),
      container,
    }));
    const seen = new Set(contained.map(({ sandbox }) => sandbox.id));
    const others = this.#sandboxes.all().filter(({ id }) => !seen.has(id));
    return [...contained, ...others.map((sandbox) => ({ sandbox, container: null }))];
  }

  disks(): readonly HeldDisk[] {
    return this.#sandboxes.disks();
  }

  readonly close = once(async () => {
    this.#exits.close();
    await this.#sandboxes.close();
    await this.#parts.roots?.close();
    this.#parts.cgroups.close();
    this.#parts.podman.close();
    await this.#letGuardGo();
  });

  /** All containers of this deployment's host, in any phase. */
  async #containers(): Promise<ContainerState[]> {
    const { host, podman } = this.#parts;
    const label = [
      `${LABELS.job}=true`,
      `${LABELS.host}=${host.hostName}`,
      `${LABELS.deployment}=${host.deploymentId}`,
    ];
    try {
      const { body } = await podman.call('GET', '/containers/json', {
        query: { all: true, filters: JSON.stringify({ label }) },
      });
      return listedStates(body);
    } catch (error) {
      throw asContainerError(error);
    }
  }
}
