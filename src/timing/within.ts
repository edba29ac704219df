/**
 * What the promise comes to, or `late` when that takes longer than `ms`, or when the signal is aborted before.
 * The work goes on; what it throws after that is nobody's.
 */
export async function within<T, L>(
  promise: PromiseLike<T>,
  ms: number,
  late: L,
  signal?: AbortSignal,
): Promise<T | L> {
  const over = Promise.withResolvers<L>();
  const end = (): void => over.resolve(late);
  // A process that was busy itself first looks at what has come meanwhile: immediates run after that.
  const timer = setTimeout(() => setImmediate(end), ms);
  signal?.addEventListener('abort', end, { once: true });
  if (signal?.aborted) end();
  try {
    return await Promise.race([promise, over.promise]);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', end);
  }
}

/** What the promise comes to; the work goes on when it is aborted. @throws the signal's reason once it is aborted */
export async function unlessAborted<T>(promise: PromiseLike<T>, signal?: AbortSignal): Promise<T> {
  const over = Promise.withResolvers<never>();
  const end = (): void => over.reject(signal?.reason as Error);
  signal?.addEventListener('abort', end, { once: true });
  if (signal?.aborted) end();
  try {
    return await Promise.race([promise, over.promise]);
  } finally {
    signal?.removeEventListener('abort', end);
  }
}
