/** A directory that is a git repository, as somebody would upload it. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  lchownSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  lstatSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';

export function makeRepository(directory: string): void {
  mkdirSync(join(directory, 'src'), { recursive: true });
  writeFileSync(join(directory, 'README.md'), '# Readme\n');
  writeFileSync(join(directory, 'src', 'main.c'), 'int main(void) { return 1; }\n');
  symlinkSync('src/main.c', join(directory, 'link'));
  const git = (...args: string[]): void =>
    void execFileSync('git', ['-C', directory, '-c', 'user.name=T', '-c', 'user.email=t@localhost', ...args]);
  git('init', '--quiet', '--initial-branch=main');
  git('add', '--all');
  git('commit', '--quiet', '--message', 'first');
  git('gc', '--quiet'); // packs are read-only files
}

/** Gives all of it to one id, as finalization does with a snapshot. */
export function giveTo(id: number | null, directory: string): void {
  if (id === null) return;
  lchownSync(directory, id, id);
  for (const entry of readdirSync(directory, { recursive: true }))
    lchownSync(join(directory, String(entry)), id, id);
}

/** Everything that a writer could have changed: names, modes, owners, inodes, times of change, content. */
export function fingerprint(directory: string): string {
  const hash = createHash('sha256');
  for (const entry of readdirSync(directory, { recursive: true }).map(String).sort()) {
    const path = join(directory, entry);
    const { mode, uid, gid, ino, mtimeMs, ctimeMs } = lstatSync(path);
    hash.update(JSON.stringify([entry, mode, uid, gid, ino, mtimeMs, ctimeMs]));
    if (lstatSync(path).isFile()) hash.update(readFileSync(path));
  }
  return hash.digest('hex');
}
