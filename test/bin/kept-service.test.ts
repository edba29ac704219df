import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { KeptService } from '../../bin/kept-service.ts';
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

describe('kept service', () => {
  it('is started again when it ends, also when that fails at first', async () => {
    const made: Ending[] = [];
    let refusals = 0;
    const kept = new KeptService(
      'service',
      () => {
        if (made.length === 1 && refusals < 2) {
          refusals += 1;
          return Promise.reject(new Error('not yet'));
        }
        const service = new Ending();
        made.push(service);
        return Promise.resolve(service);
      },
      logger,
    );
    await kept.start();
    made[0]?.end();
    await eventually('it was started again', () => made.length === 2);
    assert.equal(refusals, 2);
    assert.equal(made[0]?.stops, 1, 'what the dead one held is given back');
    await kept.stop();
    assert.equal(made[1]?.stops, 1);
  });

  it('is not started again once it was stopped', async () => {
    let starts = 0;
    const service = new Ending();
    const kept = new KeptService('service', () => Promise.resolve((starts += 1)).then(() => service), logger);
    await kept.start();
    await Promise.all([kept.stop(), kept.stop()]);
    assert.equal(service.stops, 1);
    assert.equal(starts, 1);
  });

  it('tells the error of its first start', async () => {
    const kept = new KeptService(
      'service',
      () => Promise.reject<Ending>(new Error('no such program')),
      logger,
    );
    await assert.rejects(kept.start(), /no such program/);
    await kept.stop();
  });
});
