/** A `describe` with a Redis of its own, and with a new {@link Installation} on it for each test. */
import { after, afterEach, before, beforeEach, describe } from 'mocha';
import { TestRedis } from '../support/redis.ts';
import { Installation } from './installation.ts';

/** @param body gets what stands for the installation of the test that runs; use it within hooks and tests only */
export function describeQueues(title: string, body: (here: Installation) => void): void {
  describe(title, () => {
    let redis: TestRedis;
    let installation: Installation;
    before(async () => {
      redis = await TestRedis.start();
    });
    after(() => redis.stop());
    beforeEach(async () => {
      installation = await Installation.open(redis);
    });
    afterEach(() => installation.close());
    body(
      new Proxy({} as Installation, {
        get: (_, name) => {
          const value: unknown = Reflect.get(installation, name);
          return typeof value === 'function' ? (value.bind(installation) as unknown) : value;
        },
      }),
    );
  });
}
