import { pipeline, type Readable } from 'node:stream';
import { pipeline as pipelineEnd } from 'node:stream/promises';
import { constants, createGzip } from 'node:zlib';
import { pack as tarPack, type Pack } from 'tar-stream';
import type { ArtifactStore } from './artifact-store.ts';

/** What is to be archived, as it was recorded. */
export interface ArchiveMember {
  readonly name: string;
  readonly sizeBytes: number;
  /** Milliseconds since the Unix epoch. */
  readonly createdAt: number;
}

/**
 * Artifacts of a job as a gzipped tar stream, in the order given, regular files of mode 0644. It reads as fast as it
 * is read and keeps a few blocks in memory, whatever the sizes. Destroying it closes everything. It fails, and so
 * never ends as if it were whole, when a file is gone or has another size than recorded.
 */
export const archiveArtifacts = (
  store: Pick<ArtifactStore, 'open'>,
  jobId: string,
  members: readonly ArchiveMember[],
): Readable => {
  const pack = tarPack();
  // Its reader hears of an error; without a listener it would end the process besides.
  pack.on('error', () => undefined);
  // Artifacts are mostly compressed already, and the processors belong to the jobs.
  const gzip = createGzip({ level: constants.Z_BEST_SPEED });
  // What went wrong reaches the reader of `gzip`.
  pipeline(pack as unknown as NodeJS.ReadableStream, gzip, () => undefined);
  writeMembers(pack, store, jobId, members).then(
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
  for (const { name, sizeBytes, createdAt } of members) {
    if (pack.destroyed) return;
    const file = await store.open(jobId, name);
    if (file?.sizeBytes !== sizeBytes) {
      await file?.close();
      throw new Error(`artifact ${JSON.stringify(name)} of job ${jobId} is not as it was recorded`);
    }
    const content = file.read();
    try {
      const header = {
        name,
        size: sizeBytes,
        mode: 0o644,
        mtime: new Date(createdAt),
        type: 'file' as const,
      };
      await pipelineEnd(content, pack.entry(header) as unknown as NodeJS.WritableStream);
    } finally {
      // When the archive was destroyed first, nothing has begun to read.
      content.destroy();
    }
  }
};
