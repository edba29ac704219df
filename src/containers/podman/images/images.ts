/** Images on this host: which are here, and pulling those that are not. */
import { FlashpodsError } from '../../../errors.ts';
import { unlessAborted } from '../../../timing/within.ts';
import { type HostImage, hostImage } from '../../../images/image.ts';
import { imagesInWords } from '../../../images/service.ts';
import { shortName } from '../../../images/description.ts';
import { asContainerError } from '../container/container.ts';
import { isRecord } from '../../../is-record.ts';
import { PodmanApiError, type PodmanClient } from '../service/http.ts';

/** What Podman says of a pull that gets on; nothing of what a registry answered. */
const PROGRESS = /^(?:Trying to pull|Resolved|Resolving|Getting image|Copying|Writing|Storing|Checking)\b/;
/** No pull of a sane image takes longer; it is only there so that nothing waits for ever. */
const PULL_TIMEOUT_MS = 60 * 60_000;

/**
 * The name with its registry, as `docker pull` would read it: `ubuntu` → `docker.io/library/ubuntu`.
 * Tags and digests stay as they are.
 */
export function qualified(image: string): string {
  // Podman itself writes the names of this registry with `library/`.
  const name = image.replace(/^(?:index\.)?docker\.io\//, '');
  const [first = '', ...rest] = name.split('/');
  const namesRegistry =
    rest.length > 0 && (first.includes('.') || first.includes(':') || first === 'localhost');
  if (namesRegistry) return name;
  return rest.length > 0 ? `docker.io/${name}` : `docker.io/library/${name}`;
}

interface Pull {
  readonly done: Promise<string>;
  readonly listeners: Set<(line: string) => void>;
  readonly abort: AbortController;
}

export interface ImageConfig {
  readonly id: string;
  readonly digest: string;
  /** `USER` of the image; empty when it says none. */
  readonly user: string;
  readonly entrypoint: readonly string[];
  readonly command: readonly string[];
  /** `ENV` of the image. */
  readonly env: Readonly<Record<string, string>>;
  /** Names of its annotations that are not the descriptive ones of the OCI image specification. */
  readonly oddAnnotations: readonly string[];
  /** Directories of its layers, the uppermost first; none where Podman's storage is not made of directories. */
  readonly layers: readonly string[];
}

export class Images {
  readonly #podman: PodmanClient;
  readonly #names = new Map<string, string>();
  readonly #configs = new Map<string, ImageConfig>();
  /** Ids of the users that images name, by digest. */
  readonly #namedUsers = new Map<string, number>();
  /** Whether an image has a program, by digest and path. */
  readonly #programs = new Map<string, boolean>();
  readonly #pulls = new Map<string, Pull>();

  constructor(podman: PodmanClient) {
    this.#podman = podman;
  }

  /** Those that have a name, one entry a name. @throws PodmanApiError */
  async list(): Promise<readonly HostImage[]> {
    const { body } = await this.#podman.call('GET', '/images/json');
    const images = Array.isArray(body) ? body.filter(isRecord) : [];
    return images.flatMap(({ RepoTags: tags, Digest: digest, Size: size, Labels: labels }) =>
      (Array.isArray(tags) ? tags : []).map((reference) =>
        hostImage(
          {
            reference: String(reference),
            digest: typeof digest === 'string' ? digest : '',
            sizeBytes: Number(size ?? 0),
          },
          isRecord(labels) ? (labels as Record<string, string>) : {},
        ),
      ),
    );
  }

  /** The name under which the image is here now, or null. A short name means a local image before a registry's. */
  async local(image: string): Promise<string | null> {
    return (await this.#find(image))?.name ?? null;
  }

  /** What {@link local} last said, for those who can bear that it is no longer so. */
  remembered(image: string): string | null {
    return this.#names.get(image) ?? null;
  }

  forget(image: string): void {
    this.#names.delete(image);
  }

  /** What an image that was found says of itself, by the name under which it is here. */
  configOf(name: string): ImageConfig | null {
    return this.#configs.get(name) ?? null;
  }

  /** Id of the user that an image names, once somebody has found it out. */
  namedUser(digest: string): number | null {
    return this.#namedUsers.get(digest) ?? null;
  }

  rememberUser(digest: string, id: number): void {
    this.#namedUsers.set(digest, id);
  }

  /** Whether there is something at a path of an image; null: nobody has looked yet. */
  hasProgram(digest: string, path: string): boolean | null {
    return this.#programs.get(`${digest} ${path}`) ?? null;
  }

  rememberProgram(digest: string, path: string, isThere: boolean): void {
    this.#programs.set(`${digest} ${path}`, isThere);
  }

  /** Whether an image is here, by any name or by none. @param id @throws FlashpodsError container_error */
  async isHere(id: string): Promise<boolean> {
    try {
      await this.#podman.call('GET', `/images/${id}/exists`);
      return true;
    } catch (error) {
      if (error instanceof PodmanApiError && error.status === 404) return false;
      throw asContainerError(error);
    }
  }

  /** Of an image by its name; null when it is not here. @throws FlashpodsError container_error */
  async idOf(image: string): Promise<string | null> {
    try {
      return (await this.#digest(image)) === null ? null : (this.#configs.get(image)?.id ?? null);
    } catch (error) {
      throw asContainerError(error);
    }
  }

  /**
   * Takes a name away from an image, and the image with its last one; one that is not here is gone.
   * @returns false when there is a container of it @throws FlashpodsError container_error
   */
  async remove(name: string): Promise<boolean> {
    try {
      await this.#podman.call('DELETE', `/images/${pathOf(name)}`);
    } catch (error) {
      if (error instanceof PodmanApiError && error.status === 409) return false;
      if (!(error instanceof PodmanApiError && error.status === 404)) throw asContainerError(error);
    }
    this.#configs.delete(name);
    for (const [image, known] of this.#names) if (known === name) this.#names.delete(image);
    return true;
  }

  async ensure(image: string, onProgress: (line: string) => void, signal: AbortSignal): Promise<string> {
    const here = await this.#find(image).catch((error: unknown) => {
      // What Podman takes for no name at all.
      if (!(error instanceof PodmanApiError)) throw error;
      throw new FlashpodsError('image_pull_failed', `Podman takes ${image} for no name of an image.`, {
        cause: error,
      });
    });
    if (here !== null) return here.digest;
    const full = qualified(image);
    if (full.startsWith('localhost/'))
      throw new FlashpodsError('image_pull_failed', `${absent(full)} ${await this.#here()}`);
    signal.throwIfAborted();
    return await this.#join(full, onProgress, signal);
  }

  /** One pull a name, however many wait for it; it ends when the last of them leaves. */
  async #join(image: string, onProgress: (line: string) => void, signal: AbortSignal): Promise<string> {
    const pull = this.#pulls.get(image) ?? this.#begin(image);
    // A set holds one of each, and two callers may bring the same function.
    const listener = (line: string): void => onProgress(line);
    pull.listeners.add(listener);
    try {
      return await unlessAborted(pull.done, signal);
    } finally {
      pull.listeners.delete(listener);
      if (pull.listeners.size === 0) {
        this.#pulls.delete(image);
        pull.abort.abort(new Error('nobody waits for this pull any more'));
      }
    }
  }

  #begin(image: string): Pull {
    const listeners = new Set<(line: string) => void>();
    const abort = new AbortController();
    const tell = (line: string): void => {
      for (const listener of listeners) listener(line);
    };
    const done = this.#pull(image, tell, abort.signal);
    done.catch(() => undefined); // every caller may have left before it fails
    const pull = { done, listeners, abort };
    this.#pulls.set(image, pull);
    return pull;
  }

  async #pull(image: string, tell: (line: string) => void, signal: AbortSignal): Promise<string> {
    let complaint: string | undefined;
    const query = { reference: image, policy: 'missing', quiet: false };
    try {
      await this.#podman.stream(
        'POST',
        '/images/pull',
        { query, timeoutMs: PULL_TIMEOUT_MS, signal },
        (value) => {
          if (!isRecord(value)) return;
          if (typeof value['error'] === 'string') complaint = value['error'];
          if (typeof value['stream'] === 'string')
            for (const line of value['stream'].split(/[\r\n]+/))
              if (PROGRESS.test(line)) tell(line.trimEnd());
        },
      );
    } catch (error) {
      if (!(error instanceof PodmanApiError)) throw error;
      complaint = error.message;
    }
    // A failed pull is a stream that began with 200 and has an error in it.
    if (complaint !== undefined)
      throw new FlashpodsError(
        'image_pull_failed',
        `${pullProblem(image, complaint)} ${await this.#here()}`,
        {
          cause: new Error(rootCause(complaint)),
        },
      );
    const digest = await this.#digest(image);
    if (digest === null) throw new FlashpodsError('image_pull_failed', `${image} was pulled and is not here`);
    return digest;
  }

  /** A sentence with what there is instead. */
  async #here(): Promise<string> {
    const images = await this.list().catch(() => []); // the reason why it failed is what matters
    const shared = images.filter(({ owner }) => owner === null);
    return imagesInWords(shared.map(({ reference }) => ({ name: shortName(reference) })));
  }

  async #find(image: string): Promise<{ name: string; digest: string } | null> {
    for (const name of new Set([image, qualified(image)])) {
      const digest = await this.#digest(name);
      if (digest === null) continue;
      this.#names.set(image, name);
      return { name, digest };
    }
    this.#names.delete(image);
    return null;
  }

  /** One question for both, whether it is here and which it is: each costs a start a millisecond and more. */
  async #digest(image: string): Promise<string | null> {
    try {
      const { body } = await this.#podman.call('GET', `/images/${pathOf(image)}/json`);
      // Podman also finds images by their ids and the beginnings of these, which say nothing about whose they are.
      if (!isNamed(body, image)) return null;
      const config = imageConfig(body);
      if (config !== null) {
        this.#configs.set(image, config);
        return config.digest;
      }
    } catch (error) {
      if (error instanceof PodmanApiError && error.status === 404) return null;
      throw error;
    }
    throw new FlashpodsError('image_pull_failed', `Podman gave no digest of ${image}`);
  }
}

/** Whether an image that Podman found has the name for which it was found, with or without its registry. */
export function isNamed(body: unknown, image: string): boolean {
  if (!isRecord(body)) return false;
  const [name = '', digest] = image.split('@');
  const repository = /:[^/]*$/.test(name) ? name.slice(0, name.lastIndexOf(':')) : name;
  const wanted =
    digest === undefined
      ? `${repository}:${name === repository ? 'latest' : name.slice(repository.length + 1)}`
      : `${repository}@${digest}`;
  return [...texts(body['RepoTags']), ...texts(body['RepoDigests'])].some(
    (known) => known === wanted || known.endsWith(`/${wanted}`),
  );
}

/** @param body of `GET /images/{name}/json` @returns null when it is not of an image */
function imageConfig(body: unknown): ImageConfig | null {
  if (!isRecord(body)) return null;
  const config = isRecord(body['Config']) ? body['Config'] : {};
  const driver = isRecord(body['GraphDriver']) ? body['GraphDriver'] : {};
  const data = driver['Name'] === 'overlay' && isRecord(driver['Data']) ? driver['Data'] : {};
  const { Id: id, Digest: digest, User: user } = body;
  if (typeof digest !== 'string' || digest === '' || typeof id !== 'string') return null;
  return {
    id,
    digest,
    user: typeof user === 'string' ? user : '',
    entrypoint: texts(config['Entrypoint']),
    command: texts(config['Cmd']),
    env: variables(config['Env']),
    oddAnnotations: Object.keys(isRecord(body['Annotations']) ? body['Annotations'] : {}).filter(
      (name) => !name.startsWith('org.opencontainers.image.'),
    ),
    layers: [data['UpperDir'], data['LowerDir']].flatMap((paths) =>
      typeof paths === 'string' ? paths.split(':').filter(Boolean) : [],
    ),
  };
}

const texts = (list: unknown): string[] => (Array.isArray(list) ? list.map(String) : []);

/** `NAME=value` each. */
const variables = (list: unknown): Record<string, string> =>
  Object.fromEntries(
    (Array.isArray(list) ? list : []).map((pair: unknown) => {
      const text = String(pair);
      const at = text.indexOf('=');
      return at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + 1)];
    }),
  );

/** Of one that no registry has. */
function absent(image: string): string {
  const name = shortName(image);
  return name === image
    ? `${image} is not on this host, and a localhost/ image is never pulled.`
    : `The image ${name} is not on this host; \`flashpods image build ${name}\` makes it there.`;
}

/**
 * What went wrong with a pull, as a class: whether the registry could not be reached, or has no such image. What Podman
 * says holds words of what answered, and any address of the host's network can be named as a registry: that is for the
 * host's log.
 */
export function pullProblem(image: string, complaint: string): string {
  const registry = image.split('/')[0] ?? image;
  const could = `could not pull ${image}:`;
  if (/no such host|name resolution|server misbehaving|lookup \S+( on \S+)?: /i.test(complaint))
    return `${could} this host can't find the registry ${registry} (DNS), so the name is not what is wrong.`;
  if (
    /connection refused|i\/o timeout|unreachable|no route to host|deadline exceeded|connection reset/i.test(
      complaint,
    )
  )
    return `${could} this host can't reach the registry ${registry}, so the name is not what is wrong.`;
  if (/x509|certificate|tls:/i.test(complaint))
    return `${could} this host does not trust the registry ${registry}.`;
  if (
    /manifest unknown|not found|name unknown|access .* denied|unauthorized|authentication required/i.test(
      complaint,
    )
  )
    return `${could} the registry ${registry} has no such image, or only for those who log in.`;
  if (/no space left|disk quota exceeded/i.test(complaint)) return `${could} this host has no room for it.`;
  if (/invalid reference|unsupported|invalid image/i.test(complaint))
    return `${could} it is no image that this host can use.`;
  return `${could} the registry ${registry} or this host failed; the log of the host's worker says how.`;
}

const pathOf = (image: string): string => image.split('/').map(encodeURIComponent).join('/');

/** Podman nests what went wrong in what it was doing; a person needs the innermost line, at a readable length. */
export function rootCause(message: string): string {
  const lines = message
    .split('\n')
    .map((line) => line.replace(/^\s*\*?\s*/, '').trim())
    .filter(Boolean);
  return (lines.at(-1) ?? message).slice(0, 1_000);
}
