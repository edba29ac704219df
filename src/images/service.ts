/** Which images jobs can run in, and what is to be said when one is not here. */
import { FlashpodsError } from '../errors.ts';
import { answered, type ImageRemoval, type Removals, settled } from '../hosts/removal.ts';
import { type Principal, requireScope, viewOf } from '../identity/principal.ts';
import { inOrder } from '../packages/names.ts';
import { describedImages, type ImageDescription, shortName } from './description.ts';
import type { HostImage } from './image.ts';

export interface ListedImage extends Omit<HostImage, 'owner'> {
  /** What was installed over it; none for an image itself. */
  readonly packages: readonly string[];
  /** What a job may call it: short where it is one of ours. */
  readonly name: string;
  /** Everybody may use it. */
  readonly isShared: boolean;
  readonly hosts: readonly string[];
}

export interface ImageList {
  /** Ours first, each in the order of their names. */
  readonly images: readonly ListedImage[];
  /** Ours that no host has. */
  readonly buildable: readonly ImageDescription[];
}

/** What the hosts said lately that they have. Null for one that has not said. */
export type HostImages = ReadonlyMap<string, readonly HostImage[] | null>;

export interface ImageServiceResources {
  /** Of the hosts that are not lost. @throws when nobody can say */
  readonly reports: () => Promise<HostImages>;
  readonly removals: Removals<ImageRemoval>;
}

export class ImageService {
  readonly #r: ImageServiceResources;

  constructor(resources: ImageServiceResources) {
    this.#r = resources;
  }

  /**
   * @param owner sees what is shared and its own; null sees all
   * @param program lists those that have it
   * @throws FlashpodsError service_unavailable when Redis is away
   */
  async list(owner: string | null, program?: string): Promise<ImageList> {
    const reports = await this.#r.reports();
    const { images, buildable } = listOf(reports, owner);
    if (program === undefined) return { images, buildable };
    return {
      images: images.filter(({ programs }) => programs?.includes(program)),
      buildable: buildable.filter(({ programs }) => programs.includes(program)),
    };
  }

  /**
   * Takes an image, or what was installed over it, away from all hosts that have it.
   * @param image as `list` calls it, short or in full
   * @param packages none: the image itself
   * @returns the hosts that had it
   * @throws FlashpodsError image_not_found, insufficient_scope for one that is everybody's without `admin`, image_in_use
   *   when a job uses it somewhere (it is gone from the other hosts then), container_error, service_unavailable when a
   *   host does not answer; and the reason of `signal`
   */
  async remove(
    who: Principal,
    { image, packages }: { readonly image: string; readonly packages: readonly string[] },
    signal: AbortSignal,
  ): Promise<readonly string[]> {
    const owner = viewOf(who);
    const { images } = await this.list(owner);
    const wanted = inOrder(packages);
    const found = images.filter(
      (each) =>
        [each.name, each.reference, each.reference.replace(/:latest$/, '')].includes(image) &&
        each.packages.join() === wanted.join(),
    );
    // Package layers keep the spelling of their job: `debian` and `debian:latest` are two then.
    const first = found.find(({ reference }) => reference === image) ?? found[0];
    if (first === undefined)
      throw new FlashpodsError(
        'image_not_found',
        `No host has ${[image, ...wanted].join(' + ')}${owner === null ? '' : ', or it is not yours'}. ${imagesInWords(listedNames(images))}`,
      );
    const same = found.filter(({ reference }) => reference === first.reference);
    if (same.some(({ isShared }) => isShared)) requireScope(who, 'admin');
    const hosts = [...new Set(same.flatMap((each) => each.hosts))];
    const { removals } = this.#r;
    const id = await removals.ask(hosts, { reference: first.reference, packages: wanted, owner });
    return settled(await answered(removals, id, hosts, signal), hosts, [image, ...wanted].join(' + '));
  }

  /**
   * Refuses one of ours that no host has: no registry has it either. Says nothing where a host has not told what it has.
   * @throws FlashpodsError image_not_found
   */
  async refuseAbsent(reference: string, owner: string): Promise<void> {
    const name = shortName(reference);
    if (name === reference) return;
    const reports = await this.#r.reports().catch(() => null);
    if (!reports || reports.size === 0) return;
    for (const images of reports.values())
      if (!images || images.some((image) => image.reference === reference && !isDerived(image))) return;
    const images = listOf(reports, owner).images.filter((image) => !isDerived(image));
    throw new FlashpodsError(
      'image_not_found',
      `No host has the image ${name} yet: \`flashpods image build ${name}\` on a host makes it. ${imagesInWords(images)}`,
      { details: { image: reference, images: images.map((image) => image.name) } },
    );
  }
}

/** As `flashpods image ls` shows them. */
const listedNames = (images: readonly ListedImage[]): { readonly name: string }[] =>
  images.map(({ name, packages }) => ({ name: [name, ...packages].join(' + ') }));

/** What jobs name is the image under it, and its packages beside. */
const isDerived = ({ packages = [] }: Pick<HostImage, 'packages'>): boolean => packages.length > 0;

function listOf(reports: HostImages, owner: string | null): ImageList {
  const byKey = new Map<string, ListedImage>();
  for (const [host, images] of reports) {
    for (const { owner: whose, ...image } of images ?? []) {
      if (whose !== null && owner !== null && whose !== owner) continue;
      const { packages = [] } = image;
      const key = JSON.stringify([image.reference, packages, packages.length === 0 ? null : whose]);
      const name = shortName(image.reference);
      const earlier = byKey.get(key);
      const entry = earlier ?? { ...image, packages, name, isShared: whose === null, hosts: [] };
      byKey.set(key, { ...entry, hosts: [...entry.hosts, ...(entry.hosts.includes(host) ? [] : [host])] });
    }
  }
  const isOurs = ({ name, reference }: ListedImage): boolean => name !== reference;
  const words = ({ name, packages }: ListedImage): string => [name, ...packages].join(' ');
  const images = [...byKey.values()].sort(
    (a, b) => Number(isOurs(b)) - Number(isOurs(a)) || (words(a) < words(b) ? -1 : 1),
  );
  const here = new Set(images.flatMap(({ reference, packages }) => (packages.length > 0 ? [] : [reference])));
  const buildable = [...describedImages().values()].filter(({ reference }) => !here.has(reference));
  return { images, buildable };
}

const NAMED = 8;

/** A sentence with the images that there are. */
export function imagesInWords(images: readonly { readonly name: string }[]): string {
  if (images.length === 0) return 'There are no images here.';
  const names = images.slice(0, NAMED).map(({ name }) => name);
  const rest = images.length - names.length;
  return `Images here: ${names.join(', ')}${rest > 0 ? ` and ${rest} more` : ''}.`;
}
