import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import type { Why } from '../../queues/choose.ts';
import type { HostOutlook, Outlook } from '../../queues/waiting/outlook.ts';
import { waitOf } from '../../queues/waiting/waiting-reasons.ts';
import type { Job } from '../../src/jobs/job.ts';
import type { HostState } from '../../src/jobs/ports.ts';
import { newJob } from '../support/jobs.ts';

const NOW = 1_000_000;
const job = { ...newJob({ cpus: 2, memory_gb: 4 }, { id: 'job_own' }), status: 'queued' } as unknown as Job;
const size = (cpus: number, memory: number) => ({ cpusMilli: cpus * 1_000, memoryMib: memory * 1_024 });
const host = (name: string, free: [number, number], state: HostState = 'up'): HostOutlook => ({
  name,
  state,
  capacity: size(8, 16),
  free: size(...free),
});
const disk = (capacity: number, free: number) => ({
  capacity: { ...size(8, 16), diskMib: capacity * 1_024 },
  free: { ...size(8, 16), diskMib: free * 1_024 },
  diskMostMib: 10_240,
});
const outlook = (more: Partial<Outlook>): Outlook => ({
  at: NOW,
  recovering: false,
  hosts: [host('a', [0, 1])],
  jobs: {},
  plan: null,
  ...more,
});
const because = (why: Why, more: Partial<Outlook> = {}): Outlook =>
  outlook({ jobs: { job_own: { why, startsAt: NOW + 60_000 } }, ...more });
const reason = (position: number | null, view: Outlook | null): string =>
  waitOf(job, position, view, NOW).reason;

describe('the reason why a job waits', () => {
  const cases: readonly [what: string, position: number | null, view: Outlook | null, sentence: string][] = [
    [
      'what is missing where',
      1,
      because('no_room'),
      'Waiting for 2 cpus and 4 GB: a has 0 cpus and 1 GB free. It is next.',
    ],
    [
      'the host that comes nearest, and how many are ahead',
      2,
      because('no_room', { hosts: [host('a', [0, 1]), host('b', [1, 4]), host('c', [8, 16], 'draining')] }),
      'Waiting for 2 cpus and 4 GB: of the hosts that could run it, b has 1 cpu and 4 GB free. 1 job is ahead.',
    ],
    [
      'the same however deep in the queue',
      54_321,
      outlook({}),
      'Waiting for 2 cpus and 4 GB: a has 0 cpus and 1 GB free. 54,320 jobs are ahead.',
    ],
    [
      'how much disk is missing',
      1,
      because('no_room', { hosts: [{ ...host('a', [8, 16]), ...disk(40, 8) }] }),
      'Waiting for 2 cpus, 4 GB and 10 GB of disk: a has 8 cpus, 16 GB and 8 GB of disk free. It is next.',
    ],
    [
      'that a disk is full of other things than jobs',
      1,
      because('no_disk', { hosts: [{ ...host('a', [8, 16]), ...disk(0.5, 0.5) }] }),
      'Waiting for 1,024 MB of disk: a has 512 MB for jobs, and the rest of its disk is full of other things. It is next.',
    ],
    [
      'that room is kept for a larger one',
      3,
      because('held_back'),
      'The free room is kept for a larger job ahead, which this one would delay. 2 jobs are ahead.',
    ],
    [
      'that its image is fetched, and where',
      1,
      outlook({ jobs: { job_own: { why: 'image', startsAt: null, pullOn: 'a' } } }),
      `Pulling ${job.image} on a. It is next.`,
    ],
    [
      'that its owner’s limit is reached',
      1,
      because('limit'),
      'Its owner holds as much as its limits allow; it starts when one of the owner’s own jobs has ended. It is next.',
    ],
    [
      'that it is beyond its owner’s limits, and what to do',
      1,
      because('beyond_limit'),
      'It asks for more than its owner may hold at all, since a limit was lowered: cancel it and submit a smaller one, or have the limit raised. It is next.',
    ],
    [
      'that others have their turn first, though there is room',
      4,
      outlook({ hosts: [host('a', [8, 16])] }),
      'a has room, but other jobs come first. 3 jobs are ahead.',
    ],
    [
      'that no host is large enough',
      1,
      because('too_large'),
      'No host that takes work now has 2 cpus and 4 GB. It is next.',
    ],
    ['that no host is up', 1, outlook({ hosts: [] }), 'No host is up. It is next.'],
    [
      'why no host takes work',
      1,
      outlook({
        hosts: [
          host('a', [8, 16], 'draining'),
          host('b', [8, 16], 'suspect'),
          host('c', [8, 16], 'lost'),
          host('d', [8, 16], 'lost'),
        ],
      }),
      'No host takes work at the moment: a is draining, b does not answer, c is lost and 1 more. It is next.',
    ],
    ['that nobody dispatches', 2, null, 'No worker is running, so no job can start now. 1 job is ahead.'],
    [
      'that the queue is being restored, and whom it waits for',
      null,
      outlook({ recovering: true, hosts: [host('a', [8, 16]), host('b', [8, 16], 'suspect')] }),
      'The queue is being restored after an outage of Redis; starts go on once b has said what runs there.',
    ],
    [
      'that it is about to start',
      1,
      outlook({ hosts: [host('a', [8, 16])] }),
      'It is next, and starts in a moment.',
    ],
  ];
  for (const [what, position, view, sentence] of cases) {
    it(`says ${what}`, () => assert.equal(reason(position, view), sentence));
  }

  it('names nobody else and nobody else’s job', () => {
    const view = because('no_room');
    const crowded = { ...view, jobs: { ...view.jobs, job_foreign: { why: 'limit', startsAt: 1 } as const } };
    assert.equal(JSON.stringify(waitOf(job, 2, crowded, NOW)).includes('foreign'), false);
  });
});

describe('the start that a waiting job is told', () => {
  it('is the planned one where the job was looked at, and never before now', () => {
    assert.equal(waitOf(job, 1, because('no_room'), NOW).latestStart, NOW + 60_000);
    assert.equal(waitOf(job, 1, because('no_room'), NOW + 70_000).latestStart, NOW + 70_000);
  });
  it('follows from its place further back', () => {
    const view = outlook({ plan: { at: NOW, offsets: [10, 20], spanMs: 100 } });
    assert.equal(waitOf(job, 6, view, NOW).latestStart, NOW + 220);
  });
  it('is unknown when nobody dispatches, and for what no open host is large enough for', () => {
    assert.equal(waitOf(job, 1, null, NOW).latestStart, null);
    const view = outlook({
      plan: { at: NOW, offsets: [10], spanMs: 100 },
      hosts: [{ ...host('a', [1, 1]), capacity: size(1, 1) }],
    });
    assert.equal(waitOf(job, 2, view, NOW).latestStart, null);
  });
  it('is now for the only one, where there is room', () => {
    const view = outlook({ hosts: [host('a', [8, 16])], plan: { at: NOW, offsets: [], spanMs: 0 } });
    assert.equal(waitOf(job, 1, view, NOW).latestStart, NOW);
  });
});
