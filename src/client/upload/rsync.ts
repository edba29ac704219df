import { execa, ExecaError } from 'execa';
import { systemCode } from '../../errors.ts';
import { rawName, type RawName } from '../../trees/directory.ts';
import type { CreatedUpload } from '../answers.ts';
import { ClientError } from '../client-error.ts';
import type { Connection } from '../connection.ts';
import { isLoopback } from '../loopback.ts';
import type { Tree } from './tree.ts';

/** rsync can't be used here. Files can still go over HTTP. */
export class RsyncUnavailable extends Error {}

/** A transfer that was under way broke: it may go on where it was, and if not, files can still go over HTTP. */
export class RsyncBroken extends ClientError {}

export interface RsyncSent {
  /** Files of which anything was sent. */
  readonly files: number;
  /** Bytes of content that went over the wire. */
  readonly bytes: number;
  /** What was listed and was not there any longer, as rsync tells it. */
  readonly vanished: readonly RawName[];
}

export interface RsyncOptions {
  readonly onProgress?: ((bytes: number, total: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

const Exit = { protocol: 12, vanished: 24, timeout: 30 } as const;
const SILENCE_S = 60;
const CONNECT_S = 10;
/** rsync gives up by itself after {@link SILENCE_S}; this is for a program that does not. */
const HANGS_MS = 75_000;
const VERSION_MS = 5_000;
/** The first that compares times to the nanosecond, and has all options that are used. */
const OLDEST = [3, 1, 3] as const;

/** Where the daemon is reached from here, or null when it can't be: the server's own loopback is not ours. */
export function rsyncTarget(upload: CreatedUpload, connection: Connection): URL | null {
  const url = upload.rsync_url ? URL.parse(upload.rsync_url) : null;
  if (!url || !upload.rsync_password) return null;
  const host = connection.rsyncHost ?? url.hostname;
  if (connection.rsyncHost === null && isLoopback(url) && !isLoopback(connection.url)) return null;
  // Not by `url.hostname =`, which is ignored for protocols that the URL standard does not know.
  const bracketed = host.includes(':') && !host.startsWith('[') ? `[${host}]` : host;
  return URL.parse(
    `rsync://${url.username}@${bracketed}${url.port === '' ? '' : `:${url.port}`}${url.pathname}`,
  );
}

/**
 * Sees that there is an rsync that can be used: macOS has another program under the name, and older ones lack options.
 * @throws RsyncUnavailable
 */
export async function requireRsync(signal?: AbortSignal): Promise<void> {
  const { stdout } = await execa('rsync', ['--version'], {
    env: { LC_ALL: 'C' },
    timeout: VERSION_MS,
    forceKillAfterDelay: 1_000,
    stdin: 'ignore',
    maxBuffer: 100_000,
    ...(signal ? { cancelSignal: signal } : {}),
  }).catch((error: unknown) => {
    signal?.throwIfAborted();
    if (!(error instanceof ExecaError)) throw error;
    throw new RsyncUnavailable(
      error.code === 'ENOENT'
        ? 'rsync is not installed'
        : error.timedOut
          ? '`rsync --version` does not end'
          : `\`rsync --version\` fails: ${whyOf(error)}`,
      { cause: error },
    );
  });
  if (/openrsync/i.test(stdout)) throw new RsyncUnavailable('openrsync is not rsync');
  const found = /^rsync +version v?(\d+)\.(\d+)\.(\d+)/m.exec(stdout);
  if (!found) throw new RsyncUnavailable('`rsync --version` names no version');
  const version = found.slice(1).map(Number);
  const at = OLDEST.findIndex((number, index) => version[index] !== number);
  if (at >= 0 && (version[at] ?? 0) < (OLDEST[at] ?? 0))
    throw new RsyncUnavailable(`rsync ${version.join('.')} is older than ${OLDEST.join('.')}`);
}

/**
 * Makes what the daemon has of the upload the same as the tree; what it has already (of a base, or of a transfer that
 * broke) is not sent again. A file that vanishes meanwhile is left out.
 * @throws RsyncUnavailable; RsyncBroken for a transfer that was under way and may be tried again
 */
export async function sendByRsync(
  tree: Tree,
  target: URL,
  password: string,
  { onProgress, signal }: RsyncOptions,
): Promise<RsyncSent> {
  const args = [
    '-rlpt',
    '--modify-window=-1',
    '--delete',
    '--delete-excluded',
    '--partial',
    '--no-motd',
    '--from0',
    '--exclude-from=-',
    '--info=progress2',
    '--stats',
    '--no-human-readable',
    '--outbuf=L',
    `--timeout=${SILENCE_S}`,
    `--contimeout=${CONNECT_S}`,
    ...(isLoopback(target) ? ['--whole-file'] : ['--compress']),
    `${tree.root}/`,
    target.href,
  ];
  const child = execa('rsync', args, {
    env: { LC_ALL: 'C', RSYNC_PASSWORD: password, RSYNC_PROXY: undefined, RSYNC_CONNECT_PROG: undefined },
    input: Buffer.from(tree.leftOut.map((path) => `${anchored(path)}\0`).join(''), 'latin1'),
    buffer: { stdout: false },
    maxBuffer: 1_000_000,
    forceKillAfterDelay: 2_000,
    ...(signal ? { cancelSignal: signal } : {}),
  });
  let output = '';
  let isHanging = false;
  const watch = setTimeout(() => {
    isHanging = true;
    child.kill();
  }, HANGS_MS);
  child.stderr.on('data', () => watch.refresh());
  child.stdout.on('data', (chunk: Buffer) => {
    watch.refresh();
    const text = chunk.toString();
    output = (output + text).slice(-4_096);
    const sent = /^\s*(\d+)\s+\d+%/.exec(text.split(/[\r\n]/).findLast((line) => line.includes('%')) ?? '');
    if (sent) onProgress?.(Math.min(Number(sent[1]), tree.bytes), tree.bytes);
  });
  let vanished: readonly RawName[] = [];
  try {
    await child;
  } catch (error) {
    signal?.throwIfAborted();
    if (!(error instanceof ExecaError)) throw error;
    const failure: Failure = error;
    if (isHanging) throw new RsyncUnavailable('rsync has stopped responding', { cause: error });
    if (failure.exitCode !== Exit.vanished) throw failureOf(failure, output !== '');
    vanished = namesOfVanished(String(failure.stderr));
  } finally {
    clearTimeout(watch);
  }
  const stat = (name: string): number =>
    Number(new RegExp(`^${name}: ([\\d,]+)`, 'm').exec(output)?.[1] ?? 0);
  return { files: stat('Number of regular files transferred'), bytes: stat('Literal data'), vanished };
}

const namesOfVanished = (said: string): readonly RawName[] =>
  [...said.matchAll(/^file has vanished: "(.*)"/gm)].map(([, name = '']) => rawName(name));

/** A path as a pattern that matches it and nothing else. */
const anchored = (path: string): string =>
  `/${/[*?[]/.test(path) ? path.replaceAll(/[\\*?[\]]/g, '\\$&') : path}`;

/** What execa tells of a child that failed. */
type Failure = Pick<ExecaError, 'exitCode' | 'signal'> & Error & { readonly stderr?: unknown };

/** @param hadBegun it had said something of the transfer */
function failureOf(error: Failure, hadBegun: boolean): Error {
  if (systemCode(error) === 'ENOENT') return new RsyncUnavailable('rsync is not installed', { cause: error });
  const why = whyOf(error);
  if (hadBegun && (error.exitCode === Exit.protocol || error.exitCode === Exit.timeout))
    return new RsyncBroken('not_reachable', `The transfer by rsync broke: ${why}.`, { cause: error });
  return new RsyncUnavailable(why, { cause: error });
}

/** What rsync says itself, in one line. */
function whyOf(error: Failure): string {
  const lines = (typeof error.stderr === 'string' ? error.stderr : '')
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
  const said =
    lines.find((line) => line.startsWith('@ERROR')) ??
    lines.find((line) => line.includes('rsync')) ??
    lines[0];
  const how =
    systemCode(error) ??
    (error.exitCode === undefined ? error.signal : `exit ${error.exitCode}`) ??
    'an unknown error';
  return said === undefined ? `rsync ended with ${how}` : `${said.slice(0, 200)} (${how})`;
}
