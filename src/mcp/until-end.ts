/** The same bytes; calls back once, when they have all been read or nobody wants them any more. */
export function untilEnd(body: ReadableStream<Uint8Array>, done: () => void): ReadableStream<Uint8Array> {
  const reader = body.getReader();
  let over = false;
  const end = (): void => {
    if (!over) done();
    over = true;
  };
  return new ReadableStream({
    async pull(controller) {
      try {
        const { value, done: last } = await reader.read();
        if (last) {
          end();
          controller.close();
        } else {
          controller.enqueue(value);
        }
      } catch (error) {
        end();
        controller.error(error);
      }
    },
    async cancel(reason) {
      end();
      await reader.cancel(reason);
    },
  });
}
