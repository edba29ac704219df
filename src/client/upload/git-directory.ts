/**
 * A `.git` that works where its directory is sent: what a linked work tree, a submodule or a clone with alternates has
 * elsewhere on this machine is put into it.
 */
import { lstat, readdir, readFile, realpath } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { ifMissing } from '../../files/if-missing.ts';
import { rawName, type RawName } from '../../trees/directory.ts';
import { joined, shown } from './names.ts';
import { type GitDirectory, readSmall, workTreeOf } from './repository.ts';

/** Something of a `.git`: where it goes below it, and where it is. */
export interface GitPiece {
  readonly path: RawName;
  /** Absolute; it is read from there, unless it has a content of its own. */
  readonly source: Buffer;
  readonly content?: Buffer;
}

export interface GitPieces {
  readonly pieces: readonly GitPiece[];
  readonly notices: readonly string[];
}

/** What belongs to the main work tree alone, and not to the one that is sent. */
const OF_MAIN =
  /^(?:HEAD|index|[A-Z_]+_HEAD|COMMIT_EDITMSG|MERGE_.*|SQUASH_MSG|BISECT_.*|rebase-.*|sequencer|logs\/HEAD|refs\/(?:bisect|worktree|rewritten)|config\.worktree|info\/sparse-checkout|sharedindex\..*|gitdir|commondir|locked|AUTO_MERGE)(?:\/|$)/;
/** Where the parts of a linked work tree are told, which is one for itself now; submodules of it are made whole, too. */
const LINKING = /^(?:gitdir|commondir|locked|worktrees|modules)(?:\/|$)/;
/** A program of this machine holds it, and would never let go of it there. */
const MOMENTARY = /\.lock$|(?:^|\/)gc\.pid$/;
const MAX_ALTERNATES = 20;
/** What an alternate may hold for another repository; it may be any directory of this machine. */
const OBJECT = /^(?:[0-9a-f]{2}(?:\/[0-9a-f]{38}(?:[0-9a-f]{24})?)?|pack(?:\/pack-[0-9a-f]+\.[a-z]+)?)$/;

/**
 * Whether a repository that lies elsewhere knows of the work tree that names it. Any file could name any repository of
 * this machine, and so have it sent along.
 * @param dotGit the work tree's `.git`
 */
export async function knowsWorkTree({ own, common }: GitDirectory, dotGit: string): Promise<boolean> {
  const here = await realpath(dirname(dotGit));
  const isHere = async (directory: string): Promise<boolean> =>
    (await realpath(directory).catch(ifMissing(null, 'ENOTDIR', 'ELOOP'))) === here;
  if (own === common) {
    const named = await workTreeOf(common);
    return named !== null && isHere(resolve(own, named));
  }
  if (dirname(own) !== join(common, 'worktrees')) return false;
  const named = (await readSmall(join(own, 'gitdir')).catch(ifMissing(''))).trim();
  return named !== '' && isHere(dirname(resolve(own, named)));
}

/** A repository for one work tree, from directories that lie elsewhere. */
export async function gitForOneTree({ own, common }: GitDirectory): Promise<GitPieces> {
  const all = new Map<RawName, GitPiece>();
  for (const piece of await piecesIn(common)) {
    const isOther = own !== common && OF_MAIN.test(piece.path);
    if (!isOther && !LINKING.test(piece.path)) all.set(piece.path, piece);
  }
  if (own !== common)
    for (const piece of await piecesIn(own)) if (!LINKING.test(piece.path)) all.set(piece.path, piece);
  const config = all.get('config');
  if (config && (await lstat(config.source)).isFile()) {
    const text = await readFile(config.source);
    // Where it lies now: the last one holds.
    const here = Buffer.from('\n[core]\n\tbare = false\n\tworktree = ..\n');
    all.set('config', { ...config, content: Buffer.concat([text, here]) });
  }
  return withAlternates(all, common);
}

/** A `.git` that lies in the tree already. @returns null when nothing of it lies elsewhere */
export async function gitWithAlternates(directory: string): Promise<GitPieces | null> {
  const alternates = await lstat(join(directory, 'objects', 'info', 'alternates')).catch(
    ifMissing(null, 'ENOTDIR'),
  );
  if (alternates === null) return null;
  const pieces = await piecesIn(directory);
  return withAlternates(new Map(pieces.map((piece) => [piece.path, piece])), directory);
}

/** Whether git of this machine needs it only for the moment. */
export const isMomentary = (path: RawName): boolean => MOMENTARY.test(path);

async function withAlternates(all: Map<RawName, GitPiece>, common: string): Promise<GitPieces> {
  const notices: string[] = [];
  const seen = new Set<string>();
  const visit = async (objects: string): Promise<boolean> => {
    const text = await readSmall(join(objects, 'info', 'alternates')).catch(ifMissing('', 'ENOTDIR'));
    let isWhole = true;
    for (const line of text.split('\n')) {
      if (line === '' || line.startsWith('#')) continue;
      const other = resolve(objects, line);
      if (seen.has(other) || seen.size >= MAX_ALTERNATES) continue;
      seen.add(other);
      const found = await piecesIn(other, OBJECT).catch(ifMissing(null, 'ENOTDIR'));
      if (found === null) {
        notices.push(
          `objects of a repository are missing: its alternate ${shown(rawName(other))} is not there`,
        );
        isWhole = false;
        continue;
      }
      notices.push(`objects of ${shown(rawName(other))} go along, which a repository names as its alternate`);
      for (const { path, source } of found) {
        const here = joined('objects', path);
        if (!all.has(here)) all.set(here, { path: here, source });
      }
      isWhole = (await visit(other)) && isWhole;
    }
    return isWhole;
  };
  await visit(join(common, 'objects'));
  all.delete('objects/info/alternates');
  return { pieces: [...all.values()].sort((a, b) => (a.path < b.path ? -1 : 1)), notices };
}

/** All that is in a directory, directories before what they hold; with `only` what has such a path, files and directories. */
async function piecesIn(directory: string, only?: RegExp): Promise<GitPiece[]> {
  const pieces: GitPiece[] = [];
  const visit = async (path: RawName): Promise<void> => {
    const at = Buffer.concat([Buffer.from(directory), Buffer.from(path === '' ? '' : `/${path}`, 'latin1')]);
    for (const entry of await readdir(at, { withFileTypes: true, encoding: 'latin1' })) {
      const below = joined(path, entry.name);
      if (isMomentary(below)) continue;
      if (only && (!only.test(below) || !(entry.isDirectory() || entry.isFile()))) continue;
      pieces.push({ path: below, source: Buffer.concat([at, Buffer.from(`/${entry.name}`, 'latin1')]) });
      if (entry.isDirectory()) await visit(below);
    }
  };
  await visit('');
  return pieces;
}
