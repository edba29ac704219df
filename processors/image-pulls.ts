/** The worker's half of "pull before reserve": gets what dispatch wishes for, and says how that goes. */
import pLimit, { type LimitFunction } from 'p-limit';
import type { ImageBoard, ImageWord } from '../queues/images/image-board.ts';
import type { ContainerRuntime } from '../src/containers/runtime.ts';
import { FlashpodsError } from '../src/errors.ts';
import type { Logger } from '../src/observability/logger.ts';
import { pause } from '../src/timing/bell.ts';
import { untilAnswered } from './persist.ts';

export interface ImagePullsOptions {
  readonly runtime: Pick<ContainerRuntime, 'ensureImage'>;
  readonly board: ImageBoard;
  readonly host: string;
  /** A pull that takes longer fails, ms. */
  readonly limitMs: number;
  /** Whether less of the disk is free than the rest that nobody touches; never unless given. */
  isDiskFull?(this: void): boolean;
  readonly logger: Logger;
}

/** What was told of a pull that is over. */
export interface PulledImage {
  readonly endedAt: number;
  readonly lines: readonly string[];
}

/**
 * Pulls at once: of one owner, more of which would only share the line to the registry, and of all. So no owner whose
 * registries answer slowly, or never, holds up those of others.
 */
const OF_ONE_OWNER = 2;
const AT_ONCE = 8;
/** A wish not renewed for this time is nobody's any more. A new dispatcher needs seconds to take over. */
const ABANDONED_MS = 15_000;
/** What was said is forgotten after this time without a wish; a later wish asks again. */
const SAID_MS = 300_000;
const SAY_EVERY_MS = 1_000;
const KEPT_LINES = 200;
/** Between two looks at the disk while an image comes. */
const LOOK_EVERY_MS = 500;

interface Wish {
  renewal: string;
  renewedAt: number;
  readonly abandoned: AbortController;
}

export class ImagePulls {
  readonly #o: ImagePullsOptions;
  readonly #wishes = new Map<string, Wish>();
  readonly #said = new Map<string, number>();
  readonly #pulled = new Map<string, PulledImage>();
  readonly #inTurn = pLimit(AT_ONCE);
  /** By owner, while it has any. */
  readonly #ofOwner = new Map<string, { readonly inTurn: LimitFunction; pulls: number }>();
  readonly #stopping = new AbortController();
  readonly #work = new Set<Promise<void>>();

  constructor(options: ImagePullsOptions) {
    this.#o = options;
  }

  /** Looks what is wished for; call when something may have been, and every second. @throws when Redis is away */
  async look(generation: number): Promise<void> {
    const { board, host } = this.#o;
    const wishes = await board.wishes(host);
    const now = performance.now();
    const fresh = [...wishes.keys()].filter((image) => !this.#wishes.has(image));
    const owners = await board.wishedBy(host, fresh);
    const ownerOf = new Map(fresh.map((image, index) => [image, owners[index] ?? '']));
    for (const [image, renewal] of wishes) {
      const wish = this.#wishes.get(image);
      if (!wish) this.#begin(image, renewal, generation, ownerOf.get(image) ?? '');
      else if (wish.renewal !== renewal) Object.assign(wish, { renewal, renewedAt: now });
      else if (now - wish.renewedAt > ABANDONED_MS) {
        wish.abandoned.abort(new Error('nobody waits for this image any more'));
        await board.forgetWish(host, image);
      }
    }
    for (const [image, at] of this.#said) {
      if (now - at < SAID_MS || wishes.has(image)) continue;
      this.#said.delete(image);
      this.#pulled.delete(image);
      await board.unsay(host, image);
    }
  }

  /** What there is to tell a job that waited for its image. */
  pulled(image: string): PulledImage | null {
    return this.#pulled.get(image) ?? null;
  }

  /** Ends the pulls: the next worker of this host begins them anew, and the layers that are here stay. */
  async stop(): Promise<void> {
    this.#stopping.abort(new Error('the worker stops'));
    await Promise.allSettled(this.#work);
  }

  #begin(image: string, renewal: string, generation: number, owner: string): void {
    const wish: Wish = { renewal, renewedAt: performance.now(), abandoned: new AbortController() };
    this.#wishes.set(image, wish);
    const work = this.#inTurnOf(owner, () => this.#get(image, wish, generation))
      .catch((error: unknown) => {
        if (!this.#stopping.signal.aborted)
          this.#o.logger.warn({ err: error, image }, 'it could not be said what became of an image');
      })
      .finally(() => {
        this.#wishes.delete(image);
        this.#work.delete(work);
      });
    this.#work.add(work);
  }

  /** An owner's own turn comes first: who waits for it takes no place of all. */
  async #inTurnOf(owner: string, work: () => Promise<void>): Promise<void> {
    const own = this.#ofOwner.get(owner) ?? { inTurn: pLimit(OF_ONE_OWNER), pulls: 0 };
    this.#ofOwner.set(owner, own);
    own.pulls += 1;
    try {
      await own.inTurn(() => this.#inTurn(work));
    } finally {
      own.pulls -= 1;
      if (own.pulls === 0) this.#ofOwner.delete(owner);
    }
  }

  async #get(image: string, wish: Wish, generation: number): Promise<void> {
    const { runtime, board, host, limitMs, logger } = this.#o;
    const unwanted = AbortSignal.any([wish.abandoned.signal, this.#stopping.signal]);
    await this.#waitForRoom(image, generation, unwanted);
    const limit = AbortSignal.timeout(limitMs);
    const full = new AbortController();
    const stop = AbortSignal.any([limit, full.signal, unwanted]);
    const look = setInterval(() => {
      if (this.#o.isDiskFull?.() === true) full.abort(new Error('the disk is full'));
    }, LOOK_EVERY_MS);
    const lines: string[] = [];
    let saidAt = -Infinity;
    const say = (word: Pick<ImageWord, 'state' | 'step' | 'error'>): Promise<void> =>
      board.say(host, image, { ...word, generation, at: Date.now() });
    const onProgress = (line: string): void => {
      if (lines.length < KEPT_LINES) lines.push(line);
      if (performance.now() - saidAt < SAY_EVERY_MS) return;
      saidAt = performance.now();
      void say({ state: 'pulling', step: stepOf(lines) }).catch(() => undefined); // the next line tries again
    };
    try {
      await untilAnswered(logger, stop, () => runtime.ensureImage(image, onProgress, stop));
    } catch (error) {
      if (wish.abandoned.signal.aborted) return await board.unsay(host, image);
      this.#stopping.signal.throwIfAborted();
      const why = full.signal.aborted
        ? `The disk of the host has no room for ${image}.`
        : limit.aborted
          ? `Pulling ${image} took longer than ${Math.round(limitMs / 1000)} seconds.`
          : error instanceof FlashpodsError
            ? error.message
            : `${image} could not be pulled.`;
      logger.warn({ err: error, image }, 'an image could not be pulled');
      return await this.#settle(image, () => say({ state: 'failed', error: why }));
    } finally {
      clearInterval(look);
    }
    if (lines.length > 0) this.#pulled.set(image, { endedAt: Date.now(), lines });
    await this.#settle(image, () => say({ state: 'present' }));
  }

  /** Others may have filled the disk: what they free is there for an image, which is no reason to fail a job. */
  async #waitForRoom(image: string, generation: number, unwanted: AbortSignal): Promise<void> {
    const { board, host, isDiskFull } = this.#o;
    while (isDiskFull?.() === true && !unwanted.aborted) {
      const step = 'waiting for room on the disk of the host';
      await board.say(host, image, { state: 'pulling', step, generation, at: Date.now() });
      await pause(SAY_EVERY_MS, unwanted);
    }
  }

  /** The wish goes first: one that comes now is for somebody who came later. */
  async #settle(image: string, say: () => Promise<void>): Promise<void> {
    this.#said.set(image, performance.now());
    await this.#o.board.forgetWish(this.#o.host, image);
    await say();
  }
}

/** Podman names blobs as it begins them; how many there will be it does not say. */
function stepOf(lines: readonly string[]): string {
  const blobs = lines.filter((line) => line.startsWith('Copying blob')).length;
  return blobs === 0 ? 'asking the registry' : `layer ${blobs}`;
}
