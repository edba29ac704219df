/** More at once only wait for libuv's threads. */
const AT_ONCE = 16;

/**
 * Does `work` with each of `items`, some at a time. Waits for all of a batch, so that nothing works on a handle that
 * is closed; then throws what the first of them threw.
 */
export async function inBatches<T>(
  items: AsyncIterable<T> | Iterable<T>,
  work: (item: T) => Promise<unknown>,
): Promise<void> {
  let batch: T[] = [];
  // Begun together with the wait for them: a failure while the next item is awaited would be nobody's, and end the process.
  const settle = async (): Promise<void> => {
    const results = await Promise.allSettled(batch.map(work));
    batch = [];
    for (const result of results) if (result.status === 'rejected') throw result.reason;
  };
  for await (const item of items) if (batch.push(item) === AT_ONCE) await settle();
  await settle();
}
