/** The files of a job's `/run/flashpods`. Its directory on the host lies in the sandbox, which only we may enter. */
import { chmodSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { SandboxPaths } from './sandbox.ts';

const FILE_NAME = /^[a-z][a-z0-9-]*$/;

/** Readable by whatever user the image has; it is mounted read-only. Idempotent. */
export function writeRunFiles(paths: SandboxPaths, files: Readonly<Record<string, string>>): void {
  const entries = Object.entries(files);
  if (entries.length === 0) return;
  mkdirSync(paths.run, { recursive: true });
  for (const [name, content] of entries) {
    if (!FILE_NAME.test(name)) throw new Error(`not a name for a file of a job: ${JSON.stringify(name)}`);
    const path = join(paths.run, name);
    rmSync(path, { force: true }); // its mode lets nobody write to it, not even its owner
    writeFileSync(path, content);
    chmodSync(path, 0o444);
  }
  chmodSync(paths.run, 0o755); // whatever the umask made of it
}
