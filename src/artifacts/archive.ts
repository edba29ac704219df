import { pipeline, type Readable } from 'node:stream';
import { pipeline as pipelineEnd } from 'node:stream/promises';
import { constants, createGzip } from 'node:zlib';
import { pack as tarPack, type Pack } from 'tar-stream';
import { splitNs } from '../timing/nanoseconds.ts';
import type { ArtifactStore } from './artifact-store.ts';

type Header = Parameters<Pack['entry']>[0];

/** What is to be archived, as it was recorded. */
export interface ArchiveMember {
  readonly name: string;
  /** Left out: a file. */
  readonly type?: 'file' | 'symlink' | 'directory' | 'parent' | undefined;
  readonly sizeBytes: number;
  /** Permissions; null or left out: nobody knows. */
  readonly mode?: number | null | undefined;
  /** Nanoseconds since the Unix epoch, in decimal; null or left out: nobody knows. */
  readonly mtimeNs?: string | null | undefined;
  readonly linkTarget?: string | null | undefined;
  /** Milliseconds since the Unix epoch. */
  readonly createdAt: number;
}

/** At the end of an archive that lacks something; an artifact of this name goes before it. */
export const LEFT_OUT_NAME = '.flashpods-left-out.txt';

/** tar-stream takes a mode of 0 for none. This bit is no permission, and is not written. */
const NO_DEFAULT = 0o10000;

/**
 * Artifacts of a job as a gzipped tar stream, in the order given: regular files, symlinks and directories, with their
 * modes, and their times to the nanosecond (PAX). It reads as fast as it is read and keeps a few blocks in memory,
 * for any sizes. Destroying it closes everything. It fails, and so never ends as if it were whole, when a file is
 * gone or has another size than recorded.
 * @param leftOut what the collection left out, for the file at the end; none: there is no such file
 */
export const archiveArtifacts = (
  store: Pick<ArtifactStore, 'open'>,
  jobId: string,
  members: readonly ArchiveMember[],
  leftOut: readonly string[] = [],
): Readable => {
  const pack = tarPack();
  // Its reader hears of an error; without a listener it would end the process besides.
  pack.on('error', () => undefined);
  // Artifacts are mostly compressed already, and the processors belong to the jobs.
  const gzip = createGzip({ level: constants.Z_BEST_SPEED });
  // What went wrong reaches the reader of `gzip`.
  pipeline(pack as unknown as NodeJS.ReadableStream, gzip, () => undefined);
  writeMembers(pack, store, jobId, members)
    .then(() => writeLeftOut(pack, members, leftOut))
    .then(
      () => pack.finalize(),
      (error: unknown) => pack.destroy(error instanceof Error ? error : new Error(String(error))),
    );
  return gzip;
};

const writeMembers = async (
  pack: Pack,
  store: Pick<ArtifactStore, 'open'>,
  jobId: string,
  members: readonly ArchiveMember[],
): Promise<void> => {
  for (const member of members) {
    if (pack.destroyed) return;
    const { name, type = 'file', sizeBytes } = member;
    if (type !== 'file') {
      await written(pack, headerOf(member));
      continue;
    }
    const file = await store.open(jobId, name);
    if (file?.sizeBytes !== sizeBytes) {
      await file?.close();
      throw new Error(`artifact ${JSON.stringify(name)} of job ${jobId} is not as it was recorded`);
    }
    const content = file.read();
    try {
      const entry = pack.entry({ ...headerOf(member), size: sizeBytes });
      await pipelineEnd(content, entry as unknown as NodeJS.WritableStream);
    } finally {
      // When the archive was destroyed first, nothing has begun to read.
      content.destroy();
    }
  }
};

/** An entry without content is over once it is in the stream. */
const written = (pack: Pack, header: Header): Promise<void> =>
  new Promise((resolve, reject) => {
    pack.entry(header, (error) => {
      if (error) reject(error);
      else resolve();
    });
  });

function headerOf({ name, type = 'file', mode, mtimeNs, linkTarget, createdAt }: ArchiveMember): Header {
  const isDirectory = type === 'directory' || type === 'parent';
  const usual = isDirectory ? 0o755 : 0o644;
  return {
    name,
    type: isDirectory ? 'directory' : type,
    mode: (type === 'symlink' ? 0o777 : (mode ?? usual)) | NO_DEFAULT,
    ...(type === 'symlink' ? { linkname: linkTarget ?? '' } : {}),
    ...timeOf(mtimeNs ?? null, createdAt),
  };
}

/** The header of ustar holds whole seconds, and tar-stream writes those of 31 bits only; PAX has the time itself. */
function timeOf(mtimeNs: string | null, createdAt: number): Pick<Header, 'mtime' | 'pax'> {
  if (mtimeNs === null) return { mtime: new Date(createdAt) };
  const { seconds, rest } = splitNs(BigInt(mtimeNs));
  const mtime = new Date(Math.min(Math.max(Number(seconds), 0), 0x7fffffff) * 1_000);
  return { mtime, pax: { mtime: decimalOf(seconds, rest) } };
}

/** PAX writes a time before the epoch as minus the distance to it. */
function decimalOf(seconds: bigint, rest: bigint): string {
  const [whole, part] = seconds < 0n && rest > 0n ? [seconds + 1n, 1_000_000_000n - rest] : [seconds, rest];
  const sign = seconds < 0n && whole === 0n ? '-' : '';
  return part === 0n ? `${whole}` : `${sign}${whole}.${part.toString().padStart(9, '0').replace(/0+$/, '')}`;
}

async function writeLeftOut(
  pack: Pack,
  members: readonly ArchiveMember[],
  leftOut: readonly string[],
): Promise<void> {
  if (pack.destroyed || leftOut.length === 0 || members.some(({ name }) => name === LEFT_OUT_NAME)) return;
  const text = ['This archive has not all that the job left:', ...leftOut, ''].join('\n');
  const content = Buffer.from(text);
  await new Promise<void>((resolve, reject) => {
    pack.entry({ name: LEFT_OUT_NAME, type: 'file', mtime: new Date() }, content, (error) => {
      if (error) reject(error);
      else resolve();
    });
  });
}
