/** Makes `start` and `stop` idempotent: called twice, or at once, they run once and return the same promise. */
export function once<T>(work: () => Promise<T>): () => Promise<T> {
  let promise: Promise<T> | undefined;
  return () => (promise ??= work());
}
