import { type Header, pack } from 'tar-stream';

type HeaderArgument = Partial<Header> & Pick<Header, 'name'>;

export type Entry = HeaderArgument & { readonly content?: string | Buffer };

/** A whole tar of the entries. */
export async function tarOf(...entries: readonly Entry[]): Promise<Buffer> {
  const tar = pack();
  for (const { content, ...header } of entries) {
    if (content === undefined) tar.entry(header);
    else tar.entry(header, Buffer.from(content));
  }
  tar.finalize();
  const chunks: Buffer[] = [];
  for await (const chunk of tar as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks);
}
