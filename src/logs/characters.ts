/** Where text in UTF-8 may be cut. Bytes that are no UTF-8 are nobody's character, and are cut anywhere. */

const isContinuation = (byte: number | undefined): boolean => byte !== undefined && (byte & 0xc0) === 0x80;

/** No character has more bytes. */
export const CHARACTER_BYTES = 4;

/** How many bytes at the beginning belong to a character that began before. */
export const continuationBytes = (bytes: Buffer): number => {
  let count = 0;
  while (count < CHARACTER_BYTES - 1 && isContinuation(bytes[count])) count++;
  return count;
};

/** How many of the last bytes before `end` begin a character whose other bytes are still to come. */
export const unfinishedBytes = (bytes: Buffer, end: number = bytes.length): number => {
  for (let back = 1; back < CHARACTER_BYTES && back <= end; back++) {
    const byte = bytes[end - back] ?? 0;
    if (isContinuation(byte)) continue;
    const size = byte >= 0xf5 ? 1 : byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc2 ? 2 : 1;
    return size > back ? back : 0;
  }
  return 0;
};
