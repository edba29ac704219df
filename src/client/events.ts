import { ClientError } from './client-error.ts';

/** One event of a stream; `id` resumes the stream after it. */
export interface ServerEvent {
  readonly id: string;
  readonly type: string;
  readonly data: Readonly<Record<string, unknown>>;
}

/** Larger than any piece that the API sends. */
const MAX_BLOCK_CHARACTERS = 32 * 1024 * 1024;

/**
 * Reads server-sent events (WHATWG HTML, 9.2.6), with lines that end in LF alone, as our server writes them. What comes
 * after the last empty line is no event: a stream that breaks in the middle of one never shows half of it.
 * @throws ClientError unexpected_answer for data that is no JSON object, or a block without an end
 */
export async function* parseEvents(chunks: AsyncIterable<string>): AsyncGenerator<ServerEvent> {
  let id = '';
  const rest: string[] = [];
  let restLength = 0;
  for await (const chunk of chunks) {
    // The end of a block may lie across two chunks.
    const last = rest.at(-1) ?? '';
    if (!chunk.includes('\n\n') && !(last.endsWith('\n') && chunk.startsWith('\n'))) {
      rest.push(chunk);
      restLength += chunk.length;
      if (restLength > MAX_BLOCK_CHARACTERS) throw unexpected('an event without an end');
      continue;
    }
    const blocks = (rest.join('') + chunk).split('\n\n');
    const open = blocks.pop() ?? '';
    rest.length = 0;
    rest.push(open);
    restLength = open.length;
    for (const block of blocks) {
      const fields = fieldsOf(block);
      id = fields.id ?? id;
      if (fields.data !== null) yield { id, type: fields.type, data: parseData(fields.data) };
    }
  }
}

function fieldsOf(block: string): { id: string | null; type: string; data: string | null } {
  let id: string | null = null;
  let type = 'message';
  const data: string[] = [];
  for (const line of block.split('\n')) {
    const colon = line.indexOf(':');
    if (colon === 0) continue; // a comment
    const field = colon === -1 ? line : line.slice(0, colon);
    const value = colon === -1 ? '' : line.slice(colon + 1).replace(/^ /, '');
    if (field === 'id') id = value;
    else if (field === 'event') type = value;
    else if (field === 'data') data.push(value);
  }
  return { id, type, data: data.length === 0 ? null : data.join('\n') };
}

function parseData(text: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null) return value as Record<string, unknown>;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  throw unexpected('data that is no JSON object');
}

const unexpected = (what: string): ClientError =>
  new ClientError('unexpected_answer', `The stream of events held ${what}.`);
