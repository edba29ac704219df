import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { afterEach, before, beforeEach, describe, it } from 'mocha';
import { eventually } from '../support/eventually.ts';
import { scratch } from '../support/scratch.ts';
import { Terminal } from '../support/terminal.ts';
import { FarServer } from './far-server.ts';
import { finished } from './console.ts';
import { JOB, ScriptedJob } from './scripted-job.ts';

const COMMAND = fileURLToPath(new URL('../../bin/flashpods.ts', import.meta.url));

describe('in a terminal', () => {
  const directory = scratch();
  let terminal: Terminal | undefined;
  let env: Record<string, string> = {};
  before(async () => {
    await directory.make();
  });
  afterEach(async () => {
    await terminal?.close();
    terminal = undefined;
  });

  /** Quotes are not needed: the words of these tests have none. */
  async function open(
    url: string,
    args: string,
    size: { columns?: number; rows?: number } = {},
  ): Promise<Terminal> {
    env = {
      PATH: process.env['PATH'] ?? '',
      HOME: directory.path(),
      FLASHPODS_URL: url,
      FLASHPODS_API_TOKEN: 'a-token-for-the-test',
    };
    terminal = await Terminal.open(`${process.execPath} ${COMMAND} ${args}`, { env, ...size });
    return terminal;
  }

  describe('flashpods run', () => {
    let far: ScriptedJob;
    beforeEach(async () => {
      far = new ScriptedJob();
      await far.server.start();
    });
    afterEach(() => far.server.stop());

    it('shows place and reason while it waits, then the log in their place, and how it ended', async () => {
      far.become('queued', { queue_position: 3, waiting_reason: 'no host has 2 cpus free' });
      const screen = await open(far.server.url, 'run -- make');
      await screen.shows(/[⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏] job_a+ queued · position 3 · no host has 2 cpus free/);
      far.become('running', { queue_position: null, waiting_reason: null });
      far.print('out');
      far.print('err', 'stderr');
      await screen.shows(/^out\nerr$/m);
      far.end('failed', 7);
      assert.equal(await screen.exitCode(), 7);
      const text = await screen.text();
      assert.match(text, /^out\nerr\nflashpods: job_a+ failed · exit 7 · 1\.5 s · no artifacts$/m);
      assert.doesNotMatch(text, /position/);
    });

    it('cuts the line of its state to a narrow terminal', async () => {
      far.become('queued', { queue_position: 3, waiting_reason: 'no host has 2 cpus free '.repeat(9) });
      const screen = await open(far.server.url, 'run -- make', { columns: 40, rows: 5 });
      const text = await screen.shows(/queued · pos.*…/);
      assert.equal(text.split('\n').filter((line) => line !== '').length, 1);
      far.end('completed', 0);
      assert.equal(await screen.exitCode(), 0);
    });

    it('shows what it sends', async () => {
      await mkdir(directory.path('project'), { recursive: true });
      await writeFile(directory.path('project', 'file'), Buffer.alloc(300_000, 'x'));
      const screen = await open(far.server.url, `run --files ${directory.path('project')} -- make`);
      await screen.shows('uploaded 1 file, 300.0 kB, in');
      far.end('completed', 0);
      assert.equal(await screen.exitCode(), 0);
    });

    it('cancels the job at the first Ctrl-C and leaves it at the second', async () => {
      far.onCancel = () => undefined;
      far.become('running');
      far.print('working');
      const screen = await open(far.server.url, 'run -- make');
      await screen.shows('working');
      await screen.press('C-c');
      await screen.shows('press Ctrl-C again to stop waiting');
      assert.equal(far.requests('DELETE', `/jobs/${JOB}`).length, 1);
      await screen.press('C-c');
      assert.equal(await screen.exitCode(), 130);
      assert.equal(far.job.status, 'running');
    });
  });

  describe('flashpods top', () => {
    let far: FarServer;
    beforeEach(async () => {
      far = new FarServer();
      await far.wire.start();
      far.jobs = [
        { id: 'job_aaaaaaaaaaaa', status: 'running', command: 'make all', host: 'alpha' },
        { id: 'job_bbbbbbbbbbbb', status: 'running', command: 'make test', host: 'alpha' },
        { id: 'job_cccccccccccc', status: 'queued', command: 'later', queue_position: 2 },
        {
          id: 'job_dddddddddddd',
          status: 'queued',
          command: 'sooner',
          queue_position: 1,
          waiting_reason: 'no host has 64 cpus',
        },
      ];
    });
    afterEach(() => far.wire.stop());

    const top = (size: { columns?: number; rows?: number } = {}): Promise<Terminal> =>
      open(far.wire.url, 'top --interval 0.2', { columns: 140, ...size });

    it('shows hosts with what is reserved, running jobs, and the queue in its order', async () => {
      const screen = await top();
      const text = await screen.shows('2 jobs waiting, the oldest for 1 min 15 s');
      assert.match(text, /alpha +up +\[███░░░░░░░\] 2 of 8 +\[███░░░░░░░\] 8 of 32 GB +2/);
      assert.match(text, /beta +up +\[░░░░░░░░░░\] 0 of 8/);
      assert.match(text, /2 jobs running/);
      assert.match(text, /job_aaaaaaaaaaaa +running +1m +1 +4 GB +alpha +make all/);
      assert.match(text, /sooner +no host has 64 cpus[^]*later/);
      assert.deepEqual([await screen.fact('alternate_on'), await screen.fact('cursor_flag')], ['1', '0']);
    });

    it('follows what happens', async () => {
      const screen = await top();
      await screen.shows('2 jobs running');
      far.jobs = [];
      await screen.shows('0 jobs running');
    });

    it('survives every size, down to next to nothing and back', async () => {
      const screen = await top();
      await screen.shows('2 jobs waiting');
      for (const [columns, rows] of [
        [60, 10],
        [20, 4],
        [5, 2],
        [3, 1],
      ] as const) {
        await screen.resize(columns, rows);
        await eventually(`it fits ${columns} × ${rows}`, async () => {
          const lines = (await screen.text()).split('\n');
          const [first = '', last = ''] = [lines[0], lines[rows - 1]];
          return first.startsWith('fl') && (rows === 1 || last.startsWith('q'));
        });
      }
      await screen.resize(140, 30);
      await screen.shows('2 jobs waiting');
      assert.equal(await screen.fact('alternate_on'), '1');
    });

    it('says so when the server is away, shows what it knew, and goes on when it is back', async () => {
      const screen = await top();
      await screen.shows('2 jobs running');
      far.broken = (response) => void response.destroy();
      const text = await screen.shows(/is away: .*dropped.* · as of \ds ago/);
      assert.match(text, /2 jobs running/);
      far.broken = null;
      far.jobs = far.jobs.slice(1);
      await screen.shows(/^flashpods · [^]*1 job running/);
    });

    it('scrolls to the selected job and cancels it when that is confirmed', async () => {
      const screen = await top({ columns: 80, rows: 8 });
      await screen.shows('2 jobs running');
      await screen.press('Down', 'Down', 'Down');
      await screen.shows('▸ job_dddddddddddd');
      await screen.press('k');
      await screen.shows('cancel job_dddddddddddd? y / n');
      await screen.press('n');
      await screen.shows('q quit');
      await screen.press('k', 'y');
      await screen.shows('cancelling job_dddddddddddd');
      await eventually('the server is asked', () => far.cancelled().length > 0);
      assert.deepEqual(far.cancelled(), ['job_dddddddddddd']);
    });

    for (const [what, leave, exitCode] of [
      ['q', (screen: Terminal) => screen.press('q'), 0],
      ['Ctrl-C', (screen: Terminal) => screen.press('C-c'), 0],
      ['SIGTERM', async (screen: Terminal) => void process.kill(await screen.pid(), 'SIGTERM'), 143],
    ] as const) {
      it(`gives the terminal back as it was at ${what}`, async () => {
        const screen = await top();
        await screen.shows('2 jobs running');
        await leave(screen);
        assert.equal(await screen.exitCode(), exitCode);
        assert.deepEqual([await screen.fact('alternate_on'), await screen.fact('cursor_flag')], ['0', '1']);
        assert.doesNotMatch(await screen.text(), /jobs running/);
      });
    }

    it('gives the terminal back and says why when it is refused', async () => {
      far.broken = (response) => void response.writeHead(401).end('{"error":"invalid_token","message":"no"}');
      const screen = await top();
      assert.equal(await screen.exitCode(), 5);
      assert.equal(await screen.fact('alternate_on'), '0');
      assert.match(await screen.text(), /invalid_token: no/);
    });

    it('prints one look in a pipe, and JSON when asked', async () => {
      const settings = { env: { FLASHPODS_URL: far.wire.url } };
      const { stdout, exitCode } = await finished(['top'], settings);
      assert.equal(exitCode, 0);
      assert.match(stdout, /alpha[^]*2 jobs running[^]*2 jobs waiting/);
      assert.ok(!stdout.includes('\u001b'));
      const json = JSON.parse((await finished(['top', '--json'], settings)).stdout) as Record<
        string,
        unknown[]
      >;
      assert.equal(json['jobs']?.length, 4);
    });
  });
});
