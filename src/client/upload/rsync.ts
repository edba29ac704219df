import { execa, ExecaError } from 'execa';
import { systemCode } from '../../errors.ts';
import type { CreatedUpload } from '../answers.ts';
import { ClientError } from '../client-error.ts';
import { type Connection, isLoopback } from '../connection.ts';
import type { Tree } from './tree.ts';

/** rsync can't be used here: it is not installed, or its daemon is out of reach. Files can still go over HTTP. */
export class RsyncUnavailable extends Error {}

export interface RsyncSent {
  /** Files of which anything was sent. */
  readonly files: number;
  /** Bytes of content that went over the wire. */
  readonly bytes: number;
}

export interface RsyncOptions {
  readonly onProgress?: ((bytes: number, total: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

const Exit = {
  startup: 5,
  socket: 10,
  protocol: 12,
  partial: 23,
  vanished: 24,
  timeout: 30,
  connect: 35,
} as const;
const SILENCE_S = 60;
const CONNECT_S = 10;

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
 * Makes what the daemon has of the upload the same as the tree; what it has already (of a base, or of a transfer that
 * broke) is not sent again. A file that vanishes meanwhile is left out.
 * @throws RsyncUnavailable; ClientError upload_failed, not_reachable for a transfer that broke and may be tried again
 */
export async function sendByRsync(
  tree: Tree,
  target: URL,
  password: string,
  { onProgress, signal }: RsyncOptions,
): Promise<RsyncSent> {
  const args = [
    '-rlptD',
    '--no-devices',
    '--no-specials',
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
    input: tree.leftOut.map((path) => `${anchored(path)}\0`).join(''),
    buffer: { stdout: false },
    maxBuffer: 1_000_000,
    ...(signal ? { cancelSignal: signal } : {}),
  });
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => {
    const text = chunk.toString();
    output = (output + text).slice(-4_096);
    const sent = /^\s*(\d+)\s+\d+%/.exec(text.split(/[\r\n]/).findLast((line) => line.includes('%')) ?? '');
    if (sent) onProgress?.(Math.min(Number(sent[1]), tree.bytes), tree.bytes);
  });
  try {
    await child;
  } catch (error) {
    signal?.throwIfAborted();
    if (!(error instanceof ExecaError)) throw error;
    const failure: Failure = error;
    if (failure.exitCode !== Exit.vanished) throw failureOf(failure);
  }
  const stat = (name: string): number =>
    Number(new RegExp(`^${name}: ([\\d,]+)`, 'm').exec(output)?.[1] ?? 0);
  return { files: stat('Number of regular files transferred'), bytes: stat('Literal data') };
}

/** A path as a pattern that matches it and nothing else. */
const anchored = (path: string): string =>
  `/${/[*?[]/.test(path) ? path.replaceAll(/[\\*?[\]]/g, '\\$&') : path}`;

/** What execa tells of a child that failed. */
type Failure = Pick<ExecaError, 'exitCode' | 'signal'> & Error & { readonly stderr?: unknown };

function failureOf(error: Failure): Error {
  if (systemCode(error) === 'ENOENT') return new RsyncUnavailable('rsync is not installed', { cause: error });
  const said = String(error.stderr)
    .split('\n')
    .filter((line) => line.startsWith('@ERROR') || line.includes('rsync:'));
  const why = said[0] ?? `rsync ended with ${error.exitCode ?? error.signal ?? 'an unknown error'}`;
  switch (error.exitCode) {
    case Exit.socket:
    case Exit.connect:
    case Exit.startup:
      return new RsyncUnavailable(why, { cause: error });
    case Exit.protocol:
    case Exit.timeout:
      return new ClientError('not_reachable', `The transfer by rsync broke: ${why}.`, { cause: error });
    default:
      return new ClientError('upload_failed', `${why}.`, { cause: error });
  }
}
