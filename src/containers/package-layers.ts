/**
 * Packages that were installed over an image, as one more layer: made once for an owner on a host, and kept until
 * nobody has used it for longest. A layer is whole or not there.
 */
import type { HostImage } from '../images/image.ts';
import type { Sandbox } from './sandbox.ts';

export interface PackageSet {
  readonly owner: string;
  /** As a job names it; it has to be on this host. */
  readonly image: string;
  /** In the order of `inOrder`. */
  readonly packages: readonly string[];
}

/** A set of packages over one image as it is now: another image of the same name has layers of its own. */
export interface WantedLayer extends PackageSet {
  /** What `LaunchSpec.layer` takes. */
  readonly key: string;
  readonly imageId: string;
  readonly digest: string;
}

export interface PackageLayers {
  /** @throws FlashpodsError container_start_failed when the image is not here, container_error */
  want(set: PackageSet): Promise<WantedLayer>;

  /**
   * Whether it is here. If so it counts as used now, and stays until it is given back; while a sandbox uses it, it
   * stays in any case.
   * @returns what gives it back, or null
   */
  hold(wanted: WantedLayer): (() => void) | null;

  /** Makes the caller the only one that makes it, as long as its process lives. @returns what gives that up, or null */
  claim(wanted: WantedLayer): (() => void) | null;

  /** @throws FlashpodsError package_install_failed when the image has no apt, container_error */
  refuseForeign(wanted: WantedLayer): Promise<void>;

  /**
   * Keeps what a build has installed; room is made for it first. The caller has claimed it, and the container of the
   * sandbox is gone.
   * @throws FlashpodsError package_install_failed when it is more than its owner may keep; the reason of `signal`
   */
  keep(wanted: WantedLayer, build: Sandbox, signal: AbortSignal): Promise<void>;

  /** All of this host, of every owner. */
  list(): readonly HostImage[];

  /** Deletes what is beyond the owners' share or the free space of the disk, and what a crash left. */
  trim(): Promise<void>;
}
