/** An image as a host has it, with what its labels say. */
import { LABELS } from './description.ts';

export interface HostImage {
  /** `localhost/flashpods/node:latest`. */
  readonly reference: string;
  readonly digest: string;
  readonly sizeBytes: number;
  readonly summary: string | null;
  /** Of its main programs, by their names. */
  readonly versions: Readonly<Record<string, string>>;
  /** All that a shell would find in it; null where nobody wrote them down. */
  readonly programs: readonly string[] | null;
  /** Whose it is; null: everybody's. */
  readonly owner: string | null;
  /** What was installed over it for its owner; hosts of earlier versions say nothing. */
  readonly packages?: readonly string[];
}

/** @param labels of the image; they may be anybody's */
export function hostImage(
  image: Pick<HostImage, 'reference' | 'digest' | 'sizeBytes'>,
  labels: Readonly<Record<string, string>>,
): HostImage {
  const words = (label: string): string[] | null =>
    labels[label]?.split(' ').filter((word) => word !== '') ?? null;
  const versions = (words(LABELS.versions) ?? []).map((pair) => {
    const at = pair.indexOf('=');
    return [pair.slice(0, at), pair.slice(at + 1)];
  });
  return {
    ...image,
    summary: labels[LABELS.summary] ?? null,
    versions: Object.fromEntries(versions) as Record<string, string>,
    programs: words(LABELS.programs),
    owner: labels[LABELS.owner] ?? null,
  };
}
