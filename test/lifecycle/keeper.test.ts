import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { Keeper } from '../../src/lifecycle/keeper.ts';
import { createLogger } from '../../src/observability/logger.ts';
import { eventually } from '../support/eventually.ts';

const logger = createLogger({ level: 'silent', role: 'test' });

/** Ends when it is told to. */
class Ending {
  readonly #ended = Promise.withResolvers<void>();
  readonly exited = this.#ended.promise;
  stops = 0;

  end(): void {
    this.#ended.resolve();
  }

  stop(): Promise<void> {
    this.stops += 1;
    this.end();
    return Promise.resolve();
  }
}

describe('a keeper of a helper process', () => {
  const name = 'helper';

  it('starts it again when it ends, also when that fails at first', async () => {
    const made: Ending[] = [];
    let refusals = 0;
    const start = (): Promise<Ending> => {
      if (made.length === 1 && refusals < 2) {
        refusals += 1;
        return Promise.reject(new Error('not yet'));
      }
      const helper = new Ending();
      made.push(helper);
      return Promise.resolve(helper);
    };
    const keeper = new Keeper({ name, start, logger });
    await keeper.start();
    made[0]?.end();
    await eventually('it was started again', () => made.length === 2);
    assert.equal(refusals, 2);
    assert.equal(made[0]?.stops, 1, 'what the dead one held is given back');
    await keeper.stop();
    assert.equal(made[1]?.stops, 1);
  });

  it('does not start it again once it was stopped', async () => {
    let starts = 0;
    const helper = new Ending();
    const keeper = new Keeper({
      name,
      start: () => Promise.resolve((starts += 1)).then(() => helper),
      logger,
    });
    await Promise.all([keeper.start(), keeper.start()]);
    await Promise.all([keeper.stop(), keeper.stop()]);
    assert.equal(helper.stops, 1);
    assert.equal(starts, 1);
  });

  it('tells the error of its first start', async () => {
    const start = (): Promise<Ending> => Promise.reject(new Error('no such program'));
    const keeper = new Keeper({ name, start, logger });
    await assert.rejects(keeper.start(), /no such program/);
    await keeper.stop();
  });

  it('leaves nothing running when it is stopped while it starts', async () => {
    const helper = new Ending();
    const begun = Promise.withResolvers<Ending>();
    let told: AbortSignal | null = null;
    const start = (signal: AbortSignal): Promise<Ending> => {
      told = signal;
      return begun.promise;
    };
    const keeper = new Keeper({ name, start, logger });
    const started = keeper.start();
    const stopped = keeper.stop();
    assert.ok((told as AbortSignal | null)?.aborted);
    begun.resolve(helper);
    await Promise.all([started, stopped]);
    assert.equal(helper.stops, 1);
  });

  it('leaves nothing running when it is stopped while it is started again', async () => {
    const helpers = [new Ending(), new Ending()];
    const again = Promise.withResolvers<Ending>();
    const starts = [Promise.resolve(helpers[0]), again.promise];
    const keeper = new Keeper({ name, start: () => starts.shift() as Promise<Ending>, logger });
    await keeper.start();
    helpers[0]?.end();
    await eventually('it is started again', () => keeper.restarts === 1);
    const stopped = keeper.stop();
    again.resolve(helpers[1] as Ending);
    await stopped;
    assert.equal(helpers[1]?.stops, 1);
  });

  it('pauses longer each time it crashes soon after its start', async () => {
    const pauses: number[] = [];
    const log = { error: ({ pauseMs }: { pauseMs: number }) => void pauses.push(pauseMs) };
    const start = (): Promise<Ending> => {
      const helper = new Ending();
      helper.end();
      return Promise.resolve(helper);
    };
    const backoff = { firstMs: 1, longestMs: 4 };
    const keeper = new Keeper({ name, start, backoff, logger: log });
    await keeper.start();
    await eventually('it crashed four times', () => pauses.length >= 4);
    await keeper.stop();
    assert.deepEqual(pauses.slice(0, 4), [1, 2, 4, 4]);
  });

  it('begins with the first pause again once it lived long enough', async () => {
    const pauses: number[] = [];
    const log = { error: ({ pauseMs }: { pauseMs: number }) => void pauses.push(pauseMs) };
    const start = (): Promise<Ending> => {
      const helper = new Ending();
      helper.end();
      return Promise.resolve(helper);
    };
    const backoff = { firstMs: 1, longestMs: 4 };
    const keeper = new Keeper({ name, start, backoff, wellMs: 0, logger: log });
    await keeper.start();
    await eventually('it crashed three times', () => pauses.length >= 3);
    await keeper.stop();
    assert.deepEqual(pauses.slice(0, 3), [1, 1, 1]);
  });

  for (const [when, failing] of [
    ['an end', false],
    ['a failure to start', true],
  ] as const)
    it(`gives up after ${when} that is final`, async () => {
      const helper = new Ending();
      let starts = 0;
      const start = (): Promise<Ending> => {
        starts += 1;
        return starts > 1 && failing ? Promise.reject(new Error('final')) : Promise.resolve(helper);
      };
      const isFinal = (how: unknown): boolean => (failing ? how instanceof Error : how === undefined);
      const keeper = new Keeper({ name, start, isFinal, logger });
      await keeper.start();
      helper.end();
      assert.equal(String(await keeper.givenUp), failing ? 'Error: final' : 'undefined');
      assert.equal(keeper.current, null);
      assert.equal(starts, failing ? 2 : 1);
      await keeper.stop();
    });
});
