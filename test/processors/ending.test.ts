import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { CollectingCancelled, Ending } from '../../processors/ending.ts';
import type { Job } from '../../src/jobs/job.ts';
import { eventually } from '../support/eventually.ts';

describe('the ending of a job', () => {
  const row = { id: 'job_aaaaaaaaaaaa', epoch: 1, status: 'running', endingReason: 'exit' } as unknown as Job;
  const endingOf = (job: Job): Ending =>
    new Ending({
      job,
      actor: 'test',
      lifecycle: { endingDecided: () => Promise.resolve(true) },
      queries: { get: () => Promise.resolve(job) },
      ask: (_what, work) => work(),
    });

  it('is waited for while its artifacts are collected, unless somebody asks for it and it takes long', async () => {
    const ending = endingOf(row);
    const signal = ending.collecting();
    await ending.look(row);
    await ending.look({ ...row, cancelRequestedAt: Date.now() + 1 });
    // What a moment takes is kept, also when the wish came in the moment of the exit.
    assert.equal(signal.aborted, false);
    await eventually('the collecting is stopped', () => signal.aborted);
    assert.ok(signal.reason instanceof CollectingCancelled);
  });

  it('stops the collecting for a wish that came while nobody was there to hear it', async () => {
    const asked = { ...row, cancelRequestedAt: Date.now() };
    const before = endingOf(row);
    const ending = endingOf(asked);
    ending.goOn(before.cancelSeen);
    const signal = ending.collecting();
    await ending.look();
    await eventually('the collecting is stopped', () => signal.aborted);
  });

  it('does not stop the collecting for a wish that came while the job ran', async () => {
    const ending = endingOf({ ...row, cancelRequestedAt: Date.now() - 60_000 });
    const signal = ending.collecting();
    await ending.look();
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(signal.aborted, false);
  });
});
