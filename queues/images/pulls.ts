/**
 * The dispatcher's half of "pull before reserve": which open host lacks which wanted image, and what becomes of the
 * jobs that wait for one. What is known to be there is remembered, so that a job whose image is costs nothing here.
 * An image that vanished since is pulled while its job is `starting`, as before.
 */
import type { Job } from '../../src/jobs/job.ts';
import type { JobLifecycle } from '../../src/jobs/lifecycle.ts';
import type { Logger } from '../../src/observability/logger.ts';
import type { Choice, Pull } from '../choose.ts';
import type { QueueResources } from '../resources.ts';
import type { HostEntry } from '../semaphore/farm-view.ts';
import type { Candidate } from '../waiting/waiting-index.ts';
import type { ImageWord } from './image-board.ts';

export interface PullsOptions {
  readonly resources: Pick<QueueResources, 'announcements' | 'images' | 'queue'>;
  readonly lifecycle: Pick<JobLifecycle, 'failedToStart'>;
  readonly logger: Logger;
  /** Puts a line into the log of a job that never came to a host. Never throws. */
  readonly tell?: ((job: Job, line: string) => Promise<void>) | undefined;
}

/** Well within what a worker takes for the end of a wish. */
const RENEW_MS = 2_000;
const REMEMBERED = 1_000;
const ACTOR = 'dispatcher';

interface Place {
  readonly host: string;
  /**
   * When the host had failed to get the image before the job began to wait for it there, by the host's clock; null:
   * it had not. A failure of any other time is the job's own, no matter what the clocks say.
   */
  readonly failedAt: number | null;
}

export class Pulls {
  readonly #o: PullsOptions;
  /** By host; of one generation of its worker each. */
  readonly #present = new Map<string, { readonly generation: number; readonly images: Set<string> }>();
  #words = new Map<string, ImageWord>();
  /** By host, what it was last seen to be unable to get. */
  #failed = new Map<string, ReadonlySet<string>>();
  #arrival = false;
  readonly #wished = new Map<string, number>();
  /** Where a job's image is being pulled: a better host that turns up meanwhile would only pull it as well. */
  #places = new Map<string, Place>();

  constructor(options: PullsOptions) {
    this.#o = options;
  }

  /** By host, the wanted images that it is not known to have. Asks Redis only about those. */
  async lacking(
    hosts: readonly HostEntry[],
    candidates: readonly Candidate[],
  ): Promise<ReadonlyMap<string, ReadonlySet<string>>> {
    const wanted = [...new Set(candidates.map(({ image }) => image))];
    const words = new Map<string, ImageWord>();
    const lacking = await Promise.all(
      hosts.map(async ({ name, generation }): Promise<[string, ReadonlySet<string>]> => {
        const here = this.#presentOn(name, generation);
        const unknown = wanted.filter((image) => !here.has(image));
        const said = await this.#o.resources.images.words(name, unknown);
        for (const [index, image] of unknown.entries()) {
          const word = said[index];
          if (word?.generation !== generation) continue;
          if (word.state === 'present') {
            here.add(image);
            this.#arrival = true;
          } else words.set(at(name, image), word);
        }
        return [name, new Set(unknown.filter((image) => !here.has(image)))];
      }),
    );
    this.#words = words;
    this.#failed = new Map(
      lacking.map(([name, images]) => [
        name,
        new Set([...images].filter((image) => words.get(at(name, image))?.state === 'failed')),
      ]),
    );
    return new Map(lacking);
  }

  /** Of the images that {@link lacking} last found missing on a host, those that it could not get. */
  failedOn(host: string): ReadonlySet<string> {
    return this.#failed.get(host) ?? NO_IMAGES;
  }

  /** Whether {@link lacking} has seen an image come since this was last asked. */
  takeArrival(): boolean {
    const arrived = this.#arrival;
    this.#arrival = false;
    return arrived;
  }

  /**
   * Carries out what was chosen: wishes for the images, and fails the jobs whose image is not to be had.
   * @returns the choice with the places where images are really being pulled, and what the pulls are at
   */
  async carryOut(
    choice: Choice,
    lacking: ReadonlyMap<string, ReadonlySet<string>>,
    candidates: readonly Candidate[],
  ): Promise<Choice> {
    if (choice.pulls.length === 0) return choice;
    const byId = new Map(candidates.map((candidate) => [candidate.jobId, candidate]));
    // Looks take the jobs of a long queue in turns.
    const elsewhere = [...this.#places].filter(([jobId]) => !byId.has(jobId));
    const places = new Map<string, Place>(elsewhere.slice(-REMEMBERED));
    const pulls: Pull[] = [];
    for (const { jobId, image, hadElsewhere, ...chosen } of choice.pulls) {
      const candidate = byId.get(jobId);
      if (!candidate) continue;
      const before = this.#places.get(jobId);
      const goesOn =
        before &&
        lacking.get(before.host)?.has(image) === true &&
        !(hadElsewhere === true && this.failedOn(before.host).has(image));
      const place = goesOn ? before : this.#placeOf(chosen.host, image);
      const { host } = place;
      const word = this.#words.get(at(host, image));
      // A job that came later than the failure deserves another try.
      if (word?.state === 'failed' && word.at !== place.failedAt) {
        await this.#fail(candidate, word);
        continue;
      }
      places.set(jobId, place);
      const step = word?.state === 'pulling' ? word.step : undefined;
      pulls.push({ jobId, host, image, ...(step === undefined ? {} : { step }) });
      await this.#wish(host, image, candidate.owner);
    }
    this.#places = places;
    return { ...choice, pulls };
  }

  /** Where a job begins to wait for its image. */
  #placeOf(host: string, image: string): Place {
    const word = this.#words.get(at(host, image));
    return { host, failedAt: word?.state === 'failed' ? word.at : null };
  }

  #presentOn(host: string, generation: number): Set<string> {
    let known = this.#present.get(host);
    if (known?.generation !== generation) {
      known = { generation, images: new Set() };
      this.#present.set(host, known);
    }
    return known.images;
  }

  async #wish(host: string, image: string, owner: string): Promise<void> {
    const now = performance.now();
    const before = this.#wished.get(at(host, image));
    if (before !== undefined && now - before < RENEW_MS) return;
    await this.#o.resources.images.wish(host, image, owner);
    for (const [key, wishedAt] of this.#wished) if (now - wishedAt > RENEW_MS) this.#wished.delete(key);
    this.#wished.set(at(host, image), now);
  }

  async #fail({ jobId, epoch, image }: Candidate, { error }: ImageWord): Promise<void> {
    const { lifecycle, resources, logger, tell } = this.#o;
    const errorMessage = error ?? `${image} could not be pulled.`;
    const row = await lifecycle.failedToStart(
      jobId,
      epoch,
      { reason: 'image_pull_failed', errorMessage },
      ACTOR,
    );
    if (row) {
      logger.info({ job_id: jobId, image }, 'the image of a job is not to be had');
      await tell?.(row, errorMessage);
    }
    // Cancelled or dispatched meanwhile, it has left the queue or is about to.
    if (row) await resources.queue.withdraw(jobId);
    resources.announcements.announce(jobId, null);
  }
}

const NO_IMAGES: ReadonlySet<string> = new Set();
const at = (host: string, image: string): string => `${host} ${image}`;
