export interface SpoolEntry {
  readonly stream: 'stdout' | 'stderr';
  readonly tag: 'F' | 'P';
  readonly text: Buffer;
}

export const entry = (stream: 'stdout' | 'stderr', tag: 'F' | 'P', text: string | Buffer): SpoolEntry => ({
  stream,
  tag,
  text: Buffer.from(text),
});

const START_MS = Date.UTC(2026, 10, 21, 23, 59, 58, 900);

/** The entries as conmon writes them, 7 ms apart, over a midnight. */
export const spoolOf = (entries: readonly SpoolEntry[]): Buffer =>
  Buffer.concat(
    entries.map(({ stream, tag, text }, i) => {
      const time = new Date(START_MS + i * 7).toISOString().replace('Z', '123456+00:00');
      return Buffer.concat([Buffer.from(`${time} ${stream} ${tag} `), text, Buffer.from('\n')]);
    }),
  );

/** What a stream's lines are, its last one ended or not. */
export const linesOf = (entries: readonly SpoolEntry[], stream: 'stdout' | 'stderr'): string[] => {
  const lines: string[] = [];
  let open: Buffer[] | null = null;
  for (const { text, tag, stream: own } of entries) {
    if (own !== stream) continue;
    (open ??= []).push(text);
    if (tag === 'P') continue;
    lines.push(Buffer.concat(open).toString());
    open = null;
  }
  if (open !== null) lines.push(Buffer.concat(open).toString());
  return lines;
};
