/** The images of our own: what the files `images/NAME/image` say, from which `images/build` makes them. */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { systemCode } from '../errors.ts';

/** Their names on every host begin with this. */
const OURS = 'localhost/flashpods/';

/** Labels that `images/build` puts on an image. */
export const LABELS = {
  /** Its name here; `small` on the one that stands in as the base image. */
  name: 'flashpods.image',
  /** Hash of what it was made of. */
  inputs: 'flashpods.inputs',
  summary: 'flashpods.summary',
  /** Of its main programs: `gcc=12.2.0 make=4.3`. */
  versions: 'flashpods.versions',
  /** All that a shell would find, with blanks between. */
  programs: 'flashpods.programs',
  /** Whose it is; without it everybody's. */
  owner: 'flashpods.owner',
} as const;

export interface ImageDescription {
  /** `node`. */
  readonly name: string;
  /** `localhost/flashpods/node:latest`. */
  readonly reference: string;
  readonly summary: string;
  /** The main ones. */
  readonly programs: readonly string[];
}

/** In a checkout beside `src`, in the published package beside `dist`. */
export const imagesDirectory = (): URL | undefined =>
  ['../../images/', '../../../images/']
    .map((path) => new URL(path, import.meta.url))
    .find((url) => existsSync(new URL('build', url)));

let known: ReadonlyMap<string, ImageDescription> | undefined;

/** By name; read once. Empty where the descriptions are not. */
export function describedImages(): ReadonlyMap<string, ImageDescription> {
  known ??= readAll();
  return known;
}

function readAll(): ReadonlyMap<string, ImageDescription> {
  const images = new Map<string, ImageDescription>();
  const root = imagesDirectory();
  if (!root) return images;
  for (const name of readdirSync(root).sort()) {
    const text = ifThere(new URL(`${name}/image`, root))?.toString();
    if (text !== undefined) images.set(name, parseDescription(name, text));
  }
  return images;
}

/** @param text lines of a key, blanks and a value; a key may come again, and `#` begins a comment */
export function parseDescription(name: string, text: string): ImageDescription {
  const values = (key: string): string[] =>
    text.split('\n').flatMap((line) => (line.startsWith(`${key} `) ? [line.slice(key.length).trim()] : []));
  return {
    name,
    reference: `${OURS}${name}:latest`,
    summary: values('summary').join(' '),
    programs: values('programs')
      .flatMap((line) => line.split(/ +/))
      .map((pair) => pair.slice(0, pair.indexOf('='))),
  };
}

/**
 * What a job's `image` means: a bare name of one of ours is ours, everything else is left as it is.
 * `node` → `localhost/flashpods/node:latest`; `node:24`, `library/node` and `debian` stay.
 */
export const referenceOf = (image: string): string => describedImages().get(image)?.reference ?? image;

/** The short name of one of ours (`localhost/flashpods/node:latest` → `node`); of others, what they are called. */
export function shortName(reference: string): string {
  const rest = reference.startsWith(OURS) ? reference.slice(OURS.length).replace(/:latest$/, '') : '';
  return describedImages().has(rest) ? rest : reference;
}

/**
 * What the label {@link LABELS.inputs} would say if the image were made now; null without its description.
 * @param architecture as `dpkg --print-architecture` says it, else `uname -m`
 */
export function inputsOf(name: string, architecture: string): string | null {
  const root = imagesDirectory();
  const parts = ['build', `${name}/image`].map((file) => root && ifThere(new URL(file, root)));
  const hash = createHash('sha256');
  for (const part of parts) {
    if (!part) return null;
    hash.update(part);
  }
  return hash.update(`${architecture}\n`).digest('hex');
}

function ifThere(file: URL): Buffer | null {
  try {
    return readFileSync(file);
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes(systemCode(error) ?? '')) return null;
    throw error;
  }
}
