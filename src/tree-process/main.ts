/**
 * A tree process: does one operation at a time on what jobs and callers have made, for the process that started it,
 * and ends with it. It may die of what it reads: its heap is limited, and it holds nothing that anybody needs.
 */
import { writeFileSync } from 'node:fs';
import { ByteReader } from '../files/byte-reader.ts';
import { fromPlain, LENGTH_BYTES, type Order, type Report, toPlain } from './messages.ts';
import type { OperationContext } from './operation.ts';
import { OPERATIONS } from './operations.ts';

const { stdin } = process;
const bytes = new ByteReader(stdin as AsyncIterable<Buffer>);
let stopping = new AbortController();
let mayGo = Promise.withResolvers<void>();

// Its parent ends it, when it has nothing more to do: not the terminal and not the service manager.
process.on('SIGINT', () => undefined);
process.on('SIGTERM', () => undefined);
process.on('disconnect', () => process.exit());
if (!process.connected) process.exit(); // its parent was gone before this line
process.on('message', (order: Order) => {
  switch (order.kind) {
    case 'run':
      void run(order);
      break;
    case 'go':
      mayGo.resolve();
      break;
    case 'abort':
      stopping.abort(fromPlain(order.error));
      stdin.destroy(fromPlain(order.error));
      break;
  }
});
// Where memory is short, this goes before the processes that everybody needs.
try {
  writeFileSync('/proc/self/oom_score_adj', '800');
} catch {
  // a host that hides it does as it likes
}

/** Resolves when the input of the last operation has come to its end. */
let drained: Promise<void> = Promise.resolve();

async function run({ name, args, hasInput }: Order & { readonly kind: 'run' }): Promise<void> {
  await drained;
  stopping = new AbortController();
  const operation = (OPERATIONS as unknown as Record<string, Work>)[name];
  const pieces = hasInput ? input() : none();
  // An operation may end before its input does; its generator is not ended by that.
  const lent: AsyncIterable<Buffer> = { [Symbol.asyncIterator]: () => ({ next: () => pieces.next() }) };
  try {
    if (!operation) throw new Error(`no operation ${name}`);
    const result = await operation(args, { input: lent, signal: stopping.signal, progress });
    tell({ kind: 'done', result });
  } catch (error) {
    tell({ kind: 'failed', error: toPlain(error) });
  }
  drained = drain(pieces).catch(() => undefined); // it ends soon
}

async function drain(pieces: AsyncIterator<Buffer>): Promise<void> {
  while (!(await pieces.next()).done);
}

async function* none(): AsyncGenerator<Buffer> {
  // nothing
}

type Work = (args: unknown, context: OperationContext) => Promise<unknown>;

/** The caller may stop it here, until it says `go`. */
async function progress(bytes: number): Promise<void> {
  mayGo = Promise.withResolvers();
  const go = mayGo.promise;
  const stopped = new Promise<never>((_, reject) => {
    stopping.signal.addEventListener('abort', () => reject(stopping.signal.reason as Error), { once: true });
  });
  stopped.catch(() => undefined);
  tell({ kind: 'bytes', bytes });
  await Promise.race([go, stopped]);
}

async function* input(): AsyncGenerator<Buffer> {
  for (;;) {
    const length = await bytes.take(LENGTH_BYTES);
    if (length.length < LENGTH_BYTES) throw new Error('the input was cut off');
    let left = length.readUInt32BE();
    if (left === 0) return;
    while (left > 0) {
      const piece = await bytes.some(left);
      if (piece === null) throw new Error('the input was cut off');
      left -= piece.length;
      yield piece;
    }
  }
}

const tell = (report: Report): void => {
  if (process.connected) process.send?.(report);
};
