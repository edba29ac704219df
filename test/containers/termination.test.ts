import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { type Process, planTermination } from '../../src/containers/podman/container/termination.ts';

const process = (pid: number, parent: number, handlesTerm = false): Process => ({
  pid,
  parent,
  handlesTerm,
  startTicks: '1',
  stopped: false,
});
const pids = (processes: readonly Process[]): number[] => processes.map(({ pid }) => pid);

describe('planning a termination', () => {
  it('signals all but the init, at once, when nobody handles it', () => {
    const plan = planTermination([process(10, 1), process(11, 10), process(12, 11)]);
    assert.deepEqual([pids(plan.hold), pids(plan.signal), pids(plan.handlers)], [[], [11, 12], []]);
  });

  it('holds those above a handler', () => {
    const plan = planTermination([process(10, 1), process(11, 10), process(12, 11), process(13, 12, true)]);
    assert.deepEqual([pids(plan.hold), pids(plan.handlers)], [[11, 12], [13]]);
  });

  it('holds the main command also for a handler beside it', () => {
    const plan = planTermination([process(10, 1), process(11, 10), process(12, 10, true)]);
    assert.deepEqual(pids(plan.hold), [11]);
  });

  it('never holds a handler', () => {
    const plan = planTermination([process(10, 1), process(11, 10, true), process(12, 11, true)]);
    assert.deepEqual([pids(plan.hold), pids(plan.handlers)], [[], [11, 12]]);
  });

  it('signals the init when it is alone', () => {
    assert.deepEqual(pids(planTermination([process(10, 1)]).signal), [10]);
    assert.deepEqual(pids(planTermination([]).signal), []);
  });
});
