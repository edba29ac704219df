/** A directory becomes an upload: what of it is sent, and by which way. */
import type { UploadAnswer } from '../answers.ts';
import { ClientError, hasCode } from '../client-error.ts';
import type { FlashpodsClient } from '../client.ts';
import { changesSince } from './changes.ts';
import { forget, recall, remember, type Remembered } from './remembered.ts';
import { utf8Of } from './names.ts';
import { emptyNote, leftBehindNote, vanishedNote } from './notes.ts';
import { RsyncBroken, RsyncUnavailable } from './rsync.ts';
import { listTree, type Tree } from './tree.ts';
import { type Sent, type Transport, uploadTree, uploadTreeByRsync } from './upload.ts';

export type { Sent } from './upload.ts';

export interface DirectoryOptions {
  /** Patterns as in a .gitignore: what stays behind, and what goes along all the same. */
  readonly excludes?: readonly string[];
  readonly includes?: readonly string[];
  /** Whether `.git` goes along, whole, although it is one of the usual excludes. */
  readonly git?: boolean;
  /** `auto`: rsync where both ends have it, else HTTP. */
  readonly transport?: 'auto' | Transport;
  readonly onListed?: (tree: Tree) => void;
  /** Something that one should know and nothing fails by. */
  readonly onNotice?: (text: string) => void;
  /** Bytes that were sent, of those that have to be; begins again at 0 when the upload has to be sent again. */
  readonly onProgress?: (bytes: number, total: number) => void;
  readonly onRetry?: (error: ClientError, delayMs: number) => void;
  readonly signal?: AbortSignal | undefined;
}

export interface SentDirectory {
  /** Finalized. */
  readonly upload: UploadAnswer;
  readonly tree: Tree;
  /** What went over the wire. */
  readonly sent: Sent;
}

/** A smaller tree is sent whole: remembering it would keep a copy on the server that saves nobody anything. */
const WORTH_REMEMBERING = { files: 100, bytes: 1_000_000 } as const;
/** Up to so much a change goes as a tar stream: without rsync's second connection, and without reading all on both ends. */
const SMALL_CHANGE_BYTES = 16_000_000;
/** Another command may have got the id of an upload from this cache, and not have made its job yet. */
const SUPERSEDED_KEPT_MS = 60_000;
/** With less of its life left it is not given to another job. */
const LIFE_LEFT_MS = 300_000;

/**
 * Sends a directory, without what git ignores, and makes its snapshot. Of one that was sent to this server before
 * only the changes are sent, as long as the server still has it.
 * @throws ClientError invalid_arguments (no directory), upload_failed, upload_disk_full, or what the API answered
 */
export async function uploadDirectory(
  client: FlashpodsClient,
  directory: string,
  options: DirectoryOptions = {},
): Promise<SentDirectory> {
  const { connection } = client;
  const tree = await listTree(directory, {
    excludes: options.excludes ?? [],
    includes: options.includes ?? [],
    ...(connection.defaultExclude === null ? {} : { defaults: connection.defaultExclude }),
    git: options.git ?? false,
    ...(connection.configHome === undefined ? {} : { configHome: connection.configHome }),
    signal: options.signal,
  });
  options.onListed?.(tree);
  const notice = (text: string | null): void => {
    if (text !== null) options.onNotice?.(text);
  };
  for (const text of [...tree.notices, leftBehindNote(tree), emptyNote(tree)]) notice(text);
  const isWorthIt = tree.entries.length >= WORTH_REMEMBERING.files || tree.bytes >= WORTH_REMEMBERING.bytes;
  if (!isWorthIt) {
    // rsync's handshake alone takes longer.
    const transport = options.transport === 'rsync' ? 'rsync' : 'http';
    const small = await sendWhole(client, tree, false, { ...options, transport });
    notice(vanishedNote(small.sent.vanished ?? []));
    return { tree, ...small };
  }

  const earlier = await recall(connection, tree.root);
  const again = earlier && (await sendChanges(client, tree, earlier, options));
  const { upload, sent } = again ?? (await sendWhole(client, tree, true, options));
  notice(vanishedNote(sent.vanished ?? []));
  await settle(client, tree, upload.upload_id, earlier);
  return { upload, tree, sent };
}

interface Outcome {
  readonly upload: UploadAnswer;
  readonly sent: Sent;
}

async function sendWhole(
  client: FlashpodsClient,
  tree: Tree,
  reusable: boolean,
  options: DirectoryOptions,
): Promise<Outcome> {
  const { transport = 'auto' } = options;
  if (transport !== 'http') {
    try {
      return await uploadTreeByRsync(client, tree, { ...options, reusable });
    } catch (error) {
      overHttp(error, options);
    }
  }
  return uploadTree(client, tree, { ...options, reusable });
}

/** @returns null when the earlier upload is of no use any longer, or what came of it is not what it should be */
async function sendChanges(
  client: FlashpodsClient,
  tree: Tree,
  earlier: Remembered,
  options: DirectoryOptions,
): Promise<Outcome | null> {
  const { transport = 'auto' } = options;
  const changes = changesSince(tree, earlier.stamps);
  const base = earlier.uploadId;
  const deleted = changes.deleted.map(utf8Of);
  // Only UTF-8 can be told to the server.
  if (deleted.some((path) => path === null)) return null;
  try {
    if (changes.tree.entries.length === 0 && changes.deleted.length === 0) {
      const upload = await client.getUpload(base, options.signal);
      const lifeLeftMs = Date.parse(upload.expires_at ?? '') - Date.now();
      const sent: Sent = { transport: 'none', files: 0, bytes: 0 };
      if (upload.state === 'finalized' && lifeLeftMs > LIFE_LEFT_MS) return { upload, sent };
    }
    const byRsync =
      transport === 'rsync' || (transport === 'auto' && changes.tree.bytes > SMALL_CHANGE_BYTES);
    const outcome = byRsync
      ? await uploadTreeByRsync(client, tree, { ...options, base, reusable: true }).catch(
          (error: unknown) => {
            overHttp(error, options);
            return null;
          },
        )
      : null;
    const { upload, sent } =
      outcome ??
      (await uploadTree(client, changes.tree, {
        ...options,
        base,
        deleted: deleted.filter((path) => path !== null),
        reusable: true,
      }));
    const present = tree.entries.filter(({ type }) => type !== 'directory').length;
    // Something went or came while the tree was read: rather all of it once more than a mixture.
    if (upload.file_count === present) return { upload, sent };
    await client.deleteUpload(upload.upload_id).catch(() => undefined);
    return null;
  } catch (error) {
    const isStale = hasCode(
      error,
      'upload_not_found',
      'upload_expired',
      'upload_not_finalized',
      'upload_already_consumed',
      'invalid_request',
      'request_too_large',
    );
    if (!isStale) throw error;
    await forget(client.connection, tree.root);
    return null;
  }
}

/** Remembers the upload, and deletes those on the server that it has replaced: each counts towards the limits there. */
async function settle(
  client: FlashpodsClient,
  tree: Tree,
  uploadId: string,
  earlier: Remembered | null,
): Promise<void> {
  const now = Date.now();
  const replaced =
    earlier && earlier.uploadId !== uploadId ? [{ uploadId: earlier.uploadId, atMs: now }] : [];
  const superseded = [...(earlier?.superseded ?? []), ...replaced];
  const isDue = ({ atMs }: { atMs: number }): boolean => !(atMs > now - SUPERSEDED_KEPT_MS && atMs <= now);
  await remember(
    client.connection,
    tree,
    uploadId,
    superseded.filter((item) => !isDue(item)),
  );
  for (const item of superseded.filter(isDue))
    await client.deleteUpload(item.uploadId).catch(() => undefined);
}

/** Says why files go over HTTP after all. @throws the error, where rsync was asked for or nothing of it failed */
function overHttp(error: unknown, { transport = 'auto', onNotice }: DirectoryOptions): void {
  if (!(error instanceof RsyncUnavailable || error instanceof RsyncBroken)) throw error;
  if (transport === 'rsync') throw asClientError(error);
  onNotice?.(`files go over HTTP, since rsync can't be used: ${error.message.replace(/\.$/, '')}`);
}

function asClientError(error: Error): ClientError {
  return new ClientError('upload_failed', `rsync can't be used: ${error.message.replace(/\.$/, '')}.`, {
    advice: 'Leave out `--transport rsync`: files go over HTTP then.',
    cause: error,
  });
}
