/** Polls `probe` until it returns something truthy, and returns that. Throws what it last saw at the deadline. */
export async function eventually<T>(
  what: string,
  probe: () => T | Promise<T>,
  { timeoutMs = 60_000, everyMs = 20 } = {},
): Promise<NonNullable<T>> {
  const deadline = performance.now() + timeoutMs;
  let last: unknown;
  for (;;) {
    try {
      last = await probe();
      if (last) return last as NonNullable<T>;
    } catch (error) {
      last = error;
    }
    if (performance.now() > deadline) {
      throw new Error(`gave up after ${timeoutMs} ms waiting until ${what}; last: ${String(last)}`, {
        cause: last,
      });
    }
    await new Promise((wake) => setTimeout(wake, everyMs));
  }
}
