/** Pieces of a stream, cut as they are asked for. */
export class ByteReader {
  readonly #source: AsyncIterator<Buffer>;
  #chunk: Buffer = Buffer.alloc(0);

  constructor(source: AsyncIterable<Buffer>) {
    this.#source = source[Symbol.asyncIterator]();
  }

  /** At least a byte and at most `most`; null at the end. */
  async some(most: number): Promise<Buffer | null> {
    while (this.#chunk.length === 0) {
      const next = await this.#source.next();
      if (next.done === true) return null;
      this.#chunk = next.value;
    }
    const piece = this.#chunk.subarray(0, most);
    this.#chunk = this.#chunk.subarray(piece.length);
    return piece;
  }

  /** This many bytes; fewer only at the end. */
  async take(count: number): Promise<Buffer> {
    if (count <= this.#chunk.length) {
      const piece = this.#chunk.subarray(0, count);
      this.#chunk = this.#chunk.subarray(count);
      return piece;
    }
    const pieces: Buffer[] = [];
    for (let left = count; left > 0;) {
      const piece = await this.some(left);
      if (piece === null) break;
      pieces.push(piece);
      left -= piece.length;
    }
    return Buffer.concat(pieces);
  }

  async close(): Promise<void> {
    await this.#source.return?.();
  }
}
