/** More at once only wait for libuv's threads. */
const AT_ONCE = 16;

/**
 * Does `work` with each of `items`, some at a time. Waits for all of a batch, so that nothing works on a handle that
 * is closed; then throws what the first of them threw.
 */
export async function inBatches<T>(
  items: AsyncIterable<T>,
  work: (item: T) => Promise<unknown>,
): Promise<void> {
  let batch: Promise<unknown>[] = [];
  const settle = async (): Promise<void> => {
    for (const result of await Promise.allSettled(batch))
      if (result.status === 'rejected') throw result.reason;
    batch = [];
  };
  for await (const item of items) {
    if (batch.push(work(item)) === AT_ONCE) await settle();
  }
  await settle();
}
