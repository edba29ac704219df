import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { forTerminal } from '../../src/observability/unsafe-text.ts';
import { failure, json, WireServer } from '../client/wire-server.ts';
import { scratch } from '../support/scratch.ts';
import { finished } from './console.ts';
import { JOB, ScriptedJob } from './scripted-job.ts';

/** The clipboard, a title, a cleared screen, a question that the terminal answers, and what hides or turns text. */
const HOSTILE =
  '\u001b]52;c;Y3VybA==\u0007\u001b]0;title\u001b\\\u001b[2J\u001b[1;1H\u001b[6n\u001bP$q"p\u001b\\' +
  '\u009b2J\u009d0;t\u009c\u0090x\b\u007f\u000b\u000e\u202e\u2066\u061c\u200frest\rover';
/** What a terminal obeys, or shows in another order, but colours, newlines and tabs. */
const OBEYED =
  /\u001b(?!\[[0-9;:]*m)|[\u0000-\u0008\u000b-\u001a\u001c-\u001f\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066-\u206f]/;
/** What a status line of ours does. */
const OWN = /\r\u001b\[K/g;

describe('what a terminal is told', () => {
  const directory = scratch();
  let far: ScriptedJob;
  const env = (): Record<string, string> => ({ FLASHPODS_URL: far.server.url });
  beforeEach(async () => {
    await directory.make();
    far = new ScriptedJob();
    await far.server.start();
  });
  afterEach(() => far.server.stop());

  const onTerminal = async (...args: string[]): Promise<{ stdout: string; stderr: string }> => {
    const { stdout, stderr } = await finished(args, { env: env(), terminal: true });
    return { stdout: stdout.replaceAll(OWN, ''), stderr: stderr.replaceAll(OWN, '') };
  };

  for (const command of [
    ['run', '--', 'make'],
    ['run', '-t', '--', 'make'],
    ['run', '--json', '--', 'make'],
    ['logs', JOB],
    ['logs', '-t', JOB],
    ['logs', '-f', JOB],
    ['logs', '--json', JOB],
    ['wait', JOB],
    ['ps', '--all'],
    ['ps', '--json', '--all'],
    ['artifacts', JOB],
    ['artifacts', 'get', JOB],
    ['kill', JOB],
    ['rerun', '--follow', JOB],
    ['image', 'ls'],
    ['status'],
  ]) {
    it(`is nothing but text and colours by ${command.join(' ')}`, async () => {
      far.artifacts = { [`a${HOSTILE}`]: 'x', plain: 'y' };
      far.images = [`i${HOSTILE}`];
      far.print(HOSTILE);
      far.print(HOSTILE, 'stderr');
      far.print(HOSTILE, 'system');
      far.print(`${HOSTILE}\u001b[3`, 'stdout', { partial: true });
      far.print('1mred');
      far.end('failed', 3, {
        command: HOSTILE,
        labels: { name: HOSTILE },
        error: HOSTILE,
        error_message: HOSTILE,
        error_lines: [HOSTILE, HOSTILE],
        warnings: [HOSTILE],
        artifact_warnings: [HOSTILE],
        waiting_reason: HOSTILE,
        host: HOSTILE,
        image: HOSTILE,
      });
      const at = command[1] === 'get' ? [...command, '-o', `${directory.path('out')}/`] : command;
      const { stdout, stderr } = await onTerminal(...at);
      assert.notEqual(stdout + stderr, '');
      for (const said of [stdout, stderr]) assert.doesNotMatch(said, OBEYED);
    });
  }

  it('is nothing but text when a server refuses', async () => {
    const refusing = await new WireServer((_seen, response) => {
      const { error } = failure('not_found') as { error: object };
      json(response, 404, {
        error: { ...error, code: `c${HOSTILE}`, message: HOSTILE, request_id: HOSTILE },
      });
    }).start();
    try {
      for (const command of [['ps'], ['logs', JOB], ['artifacts', JOB], ['run', '--', 'true'], ['status']]) {
        const { stdout, stderr } = await finished(command, {
          env: { FLASHPODS_URL: refusing.url },
          terminal: true,
        });
        assert.doesNotMatch((stdout + stderr).replaceAll(OWN, ''), OBEYED, command.join(' '));
      }
    } finally {
      await refusing.stop();
    }
  });

  it('shows what it does not obey, and ends colours with their line', async () => {
    far.print('\u001b[31mred');
    far.print('still red\r');
    far.print('plain\u001b[0m \u001b]0;t\u0007\u009b', 'stdout');
    far.print('after');
    far.end('completed', 0);
    const { stdout } = await onTerminal('logs', JOB);
    assert.equal(
      stdout,
      '\u001b[31mred\u001b[0m\n\u001b[31mstill red\u001b[0m\n\u001b[31mplain\u001b[0m \\x1b]0;t\\x07\\x9b\nafter\n',
    );
  });

  it('puts a colour together that came in two pieces', async () => {
    far.print('a\u001b[3', 'stdout', { partial: true });
    far.print('2mb');
    far.end('completed', 0);
    assert.equal((await onTerminal('logs', JOB)).stdout, 'a\u001b[32mb\u001b[0m\n');
  });

  it('is exact in a pipe, and on a terminal with --raw', async () => {
    far.print(HOSTILE);
    far.end('completed', 0);
    assert.equal((await finished(['logs', JOB], { env: env() })).stdout, `${HOSTILE}\n`);
    assert.equal((await finished(['run', '--', 'x'], { env: env() })).stdout, `${HOSTILE}\n`);
    assert.equal((await onTerminal('logs', '--raw', JOB)).stdout, `${HOSTILE}\n`);
  });

  it('means the same as JSON', async () => {
    far.print(HOSTILE);
    far.end('completed', 0);
    const { stdout } = await onTerminal('logs', '--json', JOB);
    assert.equal((JSON.parse(stdout) as { text: string }).text, HOSTILE);
  });

  it('is every text without escapes as it is', () => {
    const text = 'a\tb\n日本語 🎉 \u001b[1;38;5;200mx\u001b[m';
    assert.equal(forTerminal(text), text);
  });
});
