/** Bounds how long a caller waits for a promise. */

/**
 * Waits for a promise for a limited time. The work behind the promise is not stopped.
 *
 * @param ms longest wait in milliseconds; 0 or less does not wait at all
 * @returns the value; undefined when the promise rejects or takes longer
 */
export async function within<Value>(
  ms: number,
  promise: Promise<Value>,
): Promise<Value | undefined> {
  if (ms <= 0) {
    promise.catch(() => undefined);
    return undefined;
  }
  const { promise: answer, resolve } = Promise.withResolvers<Value | undefined>();
  // The timer gets a second turn of the event loop. Where a busy process fires it late, a reply that
  // has arrived meanwhile is read before the wait ends.
  let timer = setTimeout(() => {
    timer = setTimeout(() => resolve(undefined), 0);
  }, ms);
  promise.then(resolve, () => resolve(undefined));
  const value = await answer;
  clearTimeout(timer);
  return value;
}
