import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdir, readFile, symlink, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { after, afterEach, before, beforeEach, describe, it } from 'mocha';
import type { CommandEntry } from '../../src/cli/completion/catalogue.ts';
import { scratch } from '../support/scratch.ts';
import { Terminal } from '../support/terminal.ts';
import { FarServer } from './far-server.ts';

const LAUNCHER = fileURLToPath(new URL('../../flashpods', import.meta.url));
const RUNNING = 'job_aaaaaaaaaaaa';
const ENDED = 'job_bbbbbbbbbbbb';

describe('completion', () => {
  const directory = scratch();
  let far: FarServer;
  let env: Record<string, string>;

  before(async () => {
    const home = await directory.make();
    await mkdir(join(home, 'bin'));
    await mkdir(join(home, 'source-directory'));
    await writeFile(join(home, 'source-file'), '');
    await symlink(LAUNCHER, join(home, 'bin', 'flashpods'));
    env = {
      HOME: home,
      XDG_CACHE_HOME: join(home, 'cache'),
      PATH: `${join(home, 'bin')}:${process.env['PATH'] ?? ''}`,
      FLASHPODS_API_TOKEN: 'a-token-for-the-test',
    };
  });
  beforeEach(async () => {
    far = new FarServer();
    await far.wire.start();
    env['FLASHPODS_URL'] = far.wire.url;
    far.jobs = [
      { id: RUNNING, status: 'running', command: 'make "all"\n\u001b[31mred', labels: { suite: 'nightly' } },
      { id: ENDED, status: 'failed', command: 'make test', labels: { suite: 'hourly' } },
    ];
    far.artifacts = ['report.xml', 'logs/a b'];
  });
  afterEach(() => far.wire.stop());

  const complete = async (...words: string[]): Promise<string[]> => {
    const { stdout } = await promisify(execFile)('flashpods', ['__complete', ...words], { env });
    return stdout.split('\n').filter((line) => line !== '');
  };
  const values = async (...words: string[]): Promise<string[]> =>
    (await complete(...words)).map((line) => line.split('\t')[0] ?? '');

  it('offers commands with what they do, and commands below commands', async () => {
    assert.deepEqual(await complete('ki'), ['kill\tcancel jobs']);
    const all = await values('');
    for (const command of ['run', 'ps', 'logs', 'up', 'token', 'top'])
      assert.ok(all.includes(command), command);
    assert.deepEqual(await values('token', ''), ['create', 'list', 'revoke', 'help']);
    assert.deepEqual(await values('token', 'create', '--sc'), ['--scope']);
    assert.deepEqual(await values('help', 'ki'), ['kill']);
    assert.deepEqual(await values('token', 'help', 'li'), ['list']);
  });

  it('offers the options of the command, and the values of an option', async () => {
    assert.deepEqual(await values('run', '--netw'), ['--network']);
    assert.deepEqual(await values('run', '--network', ''), ['internet', 'none']);
    assert.deepEqual(await values('run', '--network=n'), ['--network=none']);
    assert.deepEqual(await values('ps', '--status', 'que'), ['queued']);
    assert.deepEqual(await values('ps', '--cpus', ''), []);
    assert.ok((await values('up', '--listen')).includes('--listen-addr'));
  });

  it('offers jobs with their state and command, of those that fit the command', async () => {
    assert.deepEqual(await complete('logs', 'job'), [
      `${RUNNING}\trunning: make "all" red`,
      `${ENDED}\tfailed: make test`,
    ]);
    assert.deepEqual(await values('logs', 'job_b'), [ENDED]);
    assert.deepEqual(await values('kill', ''), [RUNNING]);
    assert.deepEqual(await values('kill', RUNNING, ''), []);
    assert.deepEqual(await values('--json', 'logs', '--tail', '5', '-f', ''), [RUNNING, ENDED]);
  });

  it('asks the server once for the commands that take jobs, and not where the line names another', async () => {
    await complete('ki');
    const kept = join(env['XDG_CACHE_HOME'] ?? '', 'flashpods', 'commands.json');
    const { catalogue } = JSON.parse(await readFile(kept, 'utf8')) as { catalogue: CommandEntry };
    const takesJobs = catalogue.commands.filter(({ arguments: [first] }) => first?.name.startsWith('job'));
    assert.deepEqual(takesJobs.map(({ name }) => name).sort(), [
      'artifacts',
      'kill',
      'logs',
      'rerun',
      'show',
      'wait',
    ]);
    for (const { name } of takesJobs) {
      far.wire.seen.length = 0;
      assert.ok((await values(name, '')).includes(RUNNING));
      assert.equal(far.wire.seen.length, 1, name);
    }
    far.wire.seen.length = 0;
    await complete('logs', '--url', 'http://127.0.0.1:1', '');
    await complete('run', '');
    assert.equal(far.wire.seen.length, 0);
  });

  it('offers labels and artifacts', async () => {
    assert.deepEqual(await values('kill', '--label', ''), ['suite=nightly', 'suite=hourly']);
    assert.deepEqual(await values('artifacts', 'get', ENDED, ''), ['report.xml', 'logs/a b']);
    assert.deepEqual(await values('artifacts', 'get', ENDED, 'report.xml', ''), ['logs/a b']);
  });

  it('leaves paths, and the command of the job, to the shell', async () => {
    assert.deepEqual(await complete('run', '--files', ''), [':directories']);
    assert.deepEqual(await complete('run', '--artifacts='), [':directories']);
    assert.deepEqual(await complete('artifacts', 'get', ENDED, '-o', ''), [':files']);
    assert.deepEqual(await complete('run', '--', 'make', '--js'), [':files']);
    assert.deepEqual(await complete('run', 'make', '--js'), [':files']);
  });

  it('asks the server that the line names', async () => {
    far.jobs = [];
    const other = new FarServer();
    await other.wire.start();
    other.jobs = [{ id: 'job_cccccccccccc', status: 'running', command: 'x' }];
    assert.deepEqual(await values('--url', other.wire.url, 'logs', ''), ['job_cccccccccccc']);
    assert.deepEqual(await values('logs', '--url', other.wire.url, ''), ['job_cccccccccccc']);
    await other.wire.stop();
  });

  it('offers nothing of a server that is away, refuses, or never answers, and says nothing', async () => {
    for (const broken of [
      (response: Parameters<NonNullable<FarServer['broken']>>[0]) => void response.destroy(),
      (response: Parameters<NonNullable<FarServer['broken']>>[0]) => void response.writeHead(401).end('{}'),
      (response: Parameters<NonNullable<FarServer['broken']>>[0]) => void response.end('<html>'),
      () => undefined,
    ]) {
      far.broken = broken;
      const { stdout, stderr } = await promisify(execFile)('flashpods', ['__complete', 'logs', ''], { env });
      assert.deepEqual([stdout, stderr], ['', '']);
    }
  });

  it('knows what is new in the program', async () => {
    const kept = join(env['XDG_CACHE_HOME'] ?? '', 'flashpods', 'commands.json');
    await complete('ki');
    const before = JSON.parse(await readFile(kept, 'utf8')) as { key: string; catalogue: object };
    await writeFile(kept, JSON.stringify({ ...before, key: 'of another program' }));
    assert.deepEqual(await values('ki'), ['kill']);
    await writeFile(kept, '{');
    await utimes(kept, 1, 1);
    assert.deepEqual(await values('ki'), ['kill']);
  });

  for (const [shell, start, load] of [
    ['bash', 'bash --norc --noprofile', 'source <(flashpods completion bash)'],
    ['zsh', 'zsh -f', 'autoload -U compinit; compinit -D -u; source <(flashpods completion zsh)'],
    ['fish', 'fish --no-config', 'flashpods completion fish | source'],
  ] as const) {
    describe(`in ${shell}`, () => {
      let terminal: Terminal;
      before(async () => {
        terminal = await Terminal.open(start, { env: { ...env, PS1: '$ ' }, cwd: env['HOME'] ?? '/' });
        await terminal.type(`${load}; echo load''ed`);
        await terminal.press('Enter');
        await terminal.shows('loaded');
      });
      after(() => terminal.close());
      beforeEach(async () => {
        // A process keeps the address of its start: the far server of this test is told to the shell.
        await terminal.press('C-u', 'C-l');
        const set = shell === 'fish' ? 'set -gx FLASHPODS_URL' : 'export FLASHPODS_URL=';
        await terminal.type(`${set}${shell === 'fish' ? ' ' : ''}${far.wire.url}; clear; echo rea''dy`);
        await terminal.press('Enter');
        await terminal.shows('ready');
      });

      for (const [what, typed, completed] of [
        ['a command', 'flashpods log', 'flashpods logs'],
        ['a job', 'flashpods kill ', `flashpods kill ${RUNNING}`],
        ['a state', 'flashpods ps --status que', 'flashpods ps --status queued'],
        ['a value after =', 'flashpods run --network=in', 'flashpods run --network=internet'],
        ['a label', 'flashpods kill --label suite=n', 'flashpods kill --label suite=nightly'],
        ['a directory', 'flashpods run --files sou', 'flashpods run --files source-directory/'],
        ['a file of the command', 'flashpods run -- cat source-f', 'flashpods run -- cat source-file'],
      ] as const) {
        it(`completes ${what}`, async () => {
          await terminal.type(typed);
          await terminal.press('Tab');
          await terminal.shows(completed);
        });
      }

      it(shell === 'bash' ? 'lists jobs' : 'lists jobs with their commands', async () => {
        await terminal.type('flashpods logs ');
        await terminal.press('Tab');
        await terminal.shows('flashpods logs job_');
        await terminal.press('Tab', 'Tab');
        const screen = await terminal.shows(ENDED);
        assert.ok(screen.includes(RUNNING), screen);
        if (shell !== 'bash') assert.match(screen, /failed: make test/);
      });
    });
  }
});
