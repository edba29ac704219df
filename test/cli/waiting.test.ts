import assert from 'node:assert/strict';
import { after, before, describe, it } from 'mocha';
import { describeWaiting } from '../../src/cli/present-job.ts';
import { showWithin } from '../../src/cli/quantity.ts';
import type { JobAnswer } from '../../src/client/answers.ts';
import { json, WireServer } from '../client/wire-server.ts';
import { finished } from './console.ts';

const NOW = Date.parse('2026-01-01T12:00:00Z');
const waiting = (place: number, startsIn: number | null): JobAnswer => ({
  id: `job_${String(place).padStart(12, 'a')}`,
  type: 'worker',
  status: 'queued',
  command: 'true',
  cpus: 2,
  memory_gb: 4,
  timeout_minutes: 30,
  created_at: new Date(NOW).toISOString(),
  queue_position: place,
  waiting_reason: 'Waiting for 2 cpus and 4 GB: a has 0 cpus and 1 GB free.',
  latest_start: startsIn === null ? null : new Date(NOW + startsIn * 1_000).toISOString(),
});

describe('a waiting job on the command line', () => {
  const server = new WireServer(({ path }, response) => {
    const places = path.includes('status=waiting') ? [9, 3, 1, 2, 7, 5, 4] : [];
    json(response, 200, {
      jobs: places.map((place) => waiting(place, null)),
      total: places.length === 0 ? 0 : 9_996,
      next_cursor: null,
    });
  });
  before(() => server.start());
  after(() => server.stop());

  it('is described by place, latest start and reason', () => {
    assert.equal(
      describeWaiting(waiting(3, 230), NOW),
      'queued · position 3 · starts within 4 min · Waiting for 2 cpus and 4 GB: a has 0 cpus and 1 GB free.',
    );
    assert.ok(!describeWaiting(waiting(3, null), NOW).includes('starts'));
  });

  it('has a start that is a bound, rounded up', () => {
    const cases: readonly [seconds: number, text: string][] = [
      [-5, 'now'],
      [0.4, 'now'],
      [31, 'within 40 s'],
      [61, 'within 2 min'],
      [7_799, 'within 2 h 10 min'],
    ];
    for (const [seconds, text] of cases) assert.equal(showWithin(seconds), text);
  });

  it('is explained by `ps` when it is among the next five, and counted otherwise', async () => {
    const { stdout } = await finished(['ps', '-n', '7'], { env: { FLASHPODS_URL: server.url } });
    const explained = stdout.split('\n').filter((line) => line.includes(' · position '));
    assert.deepEqual(
      explained.map((line) => /position (\d+)/.exec(line)?.[1]),
      ['1', '2', '3', '4', '5'],
    );
    assert.match(
      stdout,
      /\n9991 more jobs wait\n7 jobs shown of 0 on hosts and 9,996 waiting; -n shows more\n$/,
    );
  });
});
