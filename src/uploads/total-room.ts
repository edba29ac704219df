import type { UploadParts } from './parts.ts';

type Parts = Pick<UploadParts, 'store' | 'incoming' | 'writers' | 'limits'>;

/** The room that all uploads together still have: limit − snapshots − trees that came in − streams under way. */
export class TotalRoom {
  readonly #p: Parts;
  /** Bytes of the trees that are not snapshots yet, by upload. */
  #sizes: Promise<Map<string, number>> | null = null;

  constructor(parts: Parts) {
    this.#p = parts;
  }

  /** Measured once, when the first stream comes after a start; then kept up to date by those who write. */
  sizes(): Promise<Map<string, number>> {
    this.#sizes ??= this.#measure().catch((error: unknown) => {
      this.#sizes = null;
      throw error;
    });
    return this.#sizes;
  }

  async forget(id: string): Promise<void> {
    (await this.#sizes)?.delete(id);
  }

  /** @returns the bytes that are left, asked anew for every piece that comes; below zero over the limit */
  async left(): Promise<() => number> {
    const sizes = await this.sizes();
    const storedBytes = await this.#p.store.storedBytes();
    // The sweep of another process may have been there.
    const known = await this.#p.store.knownIds();
    for (const id of sizes.keys()) if (!known.has(id)) sizes.delete(id);
    return () => {
      let used = storedBytes + this.#p.writers.streamedBytes;
      for (const size of sizes.values()) used += size;
      return this.#p.limits.totalBytes - used;
    };
  }

  async #measure(): Promise<Map<string, number>> {
    const sizes = new Map<string, number>();
    for (const id of await this.#p.incoming.ids()) sizes.set(id, await this.#p.incoming.measure(id));
    return sizes;
  }
}
