import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'mocha';
import type { DispatchRecord } from '../../processors/dispatch-records.ts';
import { type Action, decide, type Situation } from '../../processors/recovery.ts';

const record = (phase: DispatchRecord['phase'], bootId = 'this'): DispatchRecord => ({
  jobId: 'job_aaaaaaaaaaaa',
  epoch: 1,
  phase,
  bootId,
});
/** The time of a job with packages begins before its container. */
const afterInstallation: DispatchRecord = { ...record('created'), startedAt: 5 };
const created = { phase: 'created', finishedAt: null } as const;
const running = { phase: 'running', finishedAt: null } as const;
const exited = { phase: 'exited', finishedAt: 5 } as const;
const killedWithTheMachine = { phase: 'exited', finishedAt: null } as const;

describe('recovery', () => {
  const cases: [what: string, situation: Omit<Situation, 'bootId'>, action: Action['do'], error?: string][] =
    [
      [
        'starts what was claimed and never created',
        { status: 'starting', container: null, record: null },
        'launch',
      ],
      [
        'starts a container that was created and never started',
        { status: 'starting', container: created, record: record('created') },
        'start',
      ],
      [
        'starts one whose record the crash prevented',
        { status: 'starting', container: created, record: null },
        'start',
      ],
      [
        'adopts a running container',
        { status: 'running', container: running, record: record('started') },
        'follow',
      ],
      [
        'adopts one whose row still says starting',
        { status: 'starting', container: running, record: record('created') },
        'follow',
      ],
      [
        'settles an exited container',
        { status: 'running', container: exited, record: record('started') },
        'settle',
      ],
      [
        'settles one that exited before the row said running',
        { status: 'starting', container: exited, record: record('created') },
        'settle',
      ],
      [
        'finishes a job whose end is known',
        { status: 'running', container: null, record: record('ended') },
        'finish',
      ],
      [
        'finishes it also while the container is still there',
        { status: 'running', container: exited, record: record('ended') },
        'finish',
      ],
      [
        'never starts again what was created and is gone',
        { status: 'starting', container: null, record: record('created') },
        'lose',
        'container_not_found_on_recovery',
      ],
      [
        'loses a running job without a container',
        { status: 'running', container: null, record: record('started') },
        'lose',
        'container_lost_on_recovery',
      ],
      [
        'loses an exit 0 without an end time after a reboot',
        { status: 'running', container: killedWithTheMachine, record: record('started', 'last') },
        'lose',
        'container_lost_on_recovery',
      ],
      [
        'settles an exit with an end time even after a reboot',
        { status: 'running', container: exited, record: record('started', 'last') },
        'settle',
      ],
      [
        'loses a job that ran and whose container looks unstarted',
        { status: 'running', container: created, record: record('started', 'last') },
        'lose',
        'container_lost_on_recovery',
      ],
      [
        'installs the packages of a job anew that had no container yet, after a reboot as well',
        { status: 'running', container: null, record: record('installing', 'last') },
        'launch',
      ],
      [
        'starts a container that was created after its packages were installed',
        { status: 'running', container: created, record: afterInstallation },
        'start',
      ],
      [
        'loses it after a reboot, when nobody can know',
        { status: 'running', container: created, record: { ...afterInstallation, bootId: 'last' } },
        'lose',
        'container_lost_on_recovery',
      ],
    ];
  for (const [what, situation, action, error] of cases) {
    it(what, () => {
      const decided = decide({ ...situation, bootId: 'this' });
      assert.equal(decided.do, action);
      if (error) assert.equal(decided.do === 'lose' && decided.error, error);
    });
  }

  /** Cells such as `none or created`; a row that names nothing of a host is not decided here. */
  const meanings = {
    container: {
      none: [null],
      created: [created],
      running: [running],
      exited: [exited],
      'exited without an end time': [killedWithTheMachine],
      any: [null, created, running, exited, killedWithTheMachine],
    },
    record: {
      none: [null],
      installing: [record('installing')],
      created: [record('created')],
      'created after an installation': [afterInstallation],
      started: [record('started')],
      ended: [record('ended')],
      'of an earlier boot': [record('created', 'earlier'), record('started', 'earlier')],
      any: [null, record('created'), record('started')],
    },
    status: { starting: ['starting'], running: ['running'] },
  } as const;
  const VERBS = {
    launch: 'started',
    start: 'started',
    follow: 'followed',
    settle: 'settled',
    finish: 'finished',
  };
  const valuesOf = <T>(meaning: Readonly<Record<string, readonly T[]>>, cell: string): T[] | null => {
    const values = cell.split(/ or |, or /).map((word) => meaning[word]);
    return values.every((each) => each !== undefined) ? values.flat() : null;
  };

  it('is as the table of docs/recovery.md says', () => {
    const page = readFileSync(new URL('../../docs/recovery.md', import.meta.url), 'utf8');
    const rows = [...page.matchAll(/^\| (.+?) \| (.+?) \| (.+?) \| (.+?) \|$/gm)];
    let decided = 0;
    for (const [row, container = '', recordCell = '', status = '', happens = ''] of rows) {
      const containers = valuesOf<Situation['container']>(meanings.container, container);
      const records = valuesOf<Situation['record']>(meanings.record, recordCell);
      const statuses = valuesOf<Situation['status']>(meanings.status, status);
      if (!containers || !records || !statuses) continue;
      for (const each of containers)
        for (const its of records)
          for (const state of statuses) {
            const action = decide({ status: state, container: each, record: its, bootId: 'this' });
            const verb = action.do === 'lose' ? `failed: \`${action.error}\`` : VERBS[action.do];
            assert.ok(happens.startsWith(verb), `${row} ${state}: ${verb}`);
            decided += 1;
          }
    }
    assert.ok(decided >= 20, `${decided} situations of the table`);
  });
});
