/**
 * Who may write where through the rsync daemon. Everything is files in one directory, so that the daemon, its gate
 * and every process of the service on this machine agree without a connection between them:
 *
 * ```
 * <directory>/daemon.json     the daemon that runs, and its address
 *             key             from which users and passwords are derived
 *             secrets         `user:password`, a line for each upload that takes files
 *             trees/<user>    → the directory of an upload that takes files; the daemon's module is this link
 *             bases/<user>    → the snapshot that it begins with
 *             writers/<user>  pid and start time of the connection that was let in last
 *             answers/<user>  what the service says to it: `ok <bytes of a file>` or `no <why>`
 * ```
 *
 * Closing an upload removes its link first and looks for writers afterwards; the gate claims first and looks at the
 * link afterwards. So nobody slips through between the two.
 */
import { createHmac, randomBytes } from 'node:crypto';
import { chownSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { linkSync, readlinkSync, symlinkSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { systemCode } from '../../errors.ts';
import { isAlive, type ProcessIdentity } from '../../lifecycle/process-identity.ts';
import { bytesWrittenBy, endAll, family } from './processes.ts';
import { daemonAddress } from './daemon.ts';

export interface RsyncCredentials {
  readonly user: string;
  readonly password: string;
}

export interface RsyncWriter {
  readonly uploadId: string;
  /** The connection, to tell one from the next. */
  readonly connection: ProcessIdentity;
  /** Whether the service has let it in. */
  readonly answered: boolean;
}

/** Users end in the upload's id, so that the id needs no second place; what is before it can't be guessed. */
const USER = /^u[0-9a-f]{16}-(upload_[a-z0-9-]{12})$/;

export class RsyncAccess {
  readonly #directory: string;
  readonly #owner: { readonly uid: number; readonly gid: number } | null;
  #key: Buffer | null = null;

  /** @param owner ids that trees are given to while files come; null: they stay ours */
  constructor(directory: string, owner: { uid: number; gid: number } | null) {
    this.#directory = directory;
    this.#owner = owner;
  }

  /** Whether the daemon changes symlinks' targets: it can't lock a writer into a tree unless it is root. */
  get munges(): boolean {
    return process.getuid?.() !== 0 && !this.#isUnused();
  }

  /** `HOST:PORT` of the daemon, or null when there is none. */
  get address(): string | null {
    return daemonAddress(this.#directory);
  }

  credentialsOf(id: string): RsyncCredentials {
    const derive = (purpose: string): Buffer =>
      createHmac('sha256', this.#readKey()).update(`${purpose}:${id}`).digest();
    return {
      user: `u${derive('user').toString('hex').slice(0, 16)}-${id}`,
      password: derive('password').toString('base64url'),
    };
  }

  /** Lets the upload's user write into `tree`, which begins as a copy of `base`. Can be called again. */
  open(id: string, tree: string, base: string | null): void {
    const { user } = this.credentialsOf(id);
    for (const name of ['trees', 'bases', 'writers', 'answers']) {
      mkdirSync(this.#path(name), { recursive: true, mode: 0o700 });
    }
    mkdirSync(tree, { recursive: true, mode: 0o755 });
    if (this.#owner) chownSync(tree, this.#owner.uid, this.#owner.gid);
    if (base !== null) link(base, this.#path('bases', user));
    link(tree, this.#path('trees', user));
    this.#writeSecrets();
  }

  /** Lets nobody in any longer, and ends who is in; when it returns nothing writes into the tree through rsync. */
  async close(id: string, tree: string): Promise<void> {
    if (this.#isUnused()) return;
    const { user } = this.credentialsOf(id);
    rmSync(this.#path('trees', user), { force: true });
    this.#writeSecrets();
    // Whoever was let in has claimed, dead or alive.
    if (!existsSync(this.#path('writers', user))) return;
    await endAll(() => family(this.#claim(user), tree, 'rsync'));
  }

  /** After {@link close}, when the upload takes no more files. */
  forget(id: string): void {
    if (this.#isUnused()) return;
    const { user } = this.credentialsOf(id);
    for (const name of ['bases', 'writers', 'answers']) rmSync(this.#path(name, user), { force: true });
  }

  /** Uploads that somebody may write into. */
  opened(): string[] {
    return this.#users('trees').map(uploadOf);
  }

  /** Connections that want to write, or do. */
  writers(): RsyncWriter[] {
    const answers = new Set(this.#users('answers'));
    return this.#users('writers').flatMap((user) => {
      const connection = this.#claim(user);
      return connection ? [{ uploadId: uploadOf(user), connection, answered: answers.has(user) }] : [];
    });
  }

  /** @param verdict the largest file in bytes, or a sentence that refuses */
  answer(id: string, verdict: number | string): void {
    const { user } = this.credentialsOf(id);
    const text = typeof verdict === 'number' ? `ok ${verdict}` : `no ${verdict}`;
    writeWhole(this.#path('answers', user), `${text}\n`);
  }

  isWriting(id: string): boolean {
    return !this.#isUnused() && this.#claim(this.credentialsOf(id).user) !== null;
  }

  /** Bytes that a connection's processes have written so far, at least those that went into files. */
  bytesWritten({ connection }: RsyncWriter, tree: string): number {
    return bytesWrittenBy(family(connection, tree, 'rsync'));
  }

  /** The living connection that the gate let claim. */
  #claim(user: string): ProcessIdentity | null {
    let text: string;
    try {
      text = readFileSync(this.#path('writers', user), 'utf8');
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return null;
      throw error;
    }
    const [pid, startTicks] = text.trim().split(' ');
    const claimed = { pid: Number(pid), startTicks: startTicks ?? '' };
    return isAlive(claimed) ? claimed : null;
  }

  /** Written from what is open, until it still is when it was written: other processes do the same. */
  #writeSecrets(): void {
    for (let written = ''; ;) {
      const users = this.#users('trees').sort();
      const text = users.map((user) => `${user}:${this.credentialsOf(uploadOf(user)).password}\n`).join('');
      if (text === written && text !== '') return;
      writeWhole(this.#path('secrets'), text);
      if (text === '') return;
      written = text;
    }
  }

  #users(name: string): string[] {
    try {
      return readdirSync(this.#path(name)).filter((entry) => USER.test(entry));
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return [];
      throw error;
    }
  }

  /** Nothing was ever opened here. */
  #isUnused(): boolean {
    try {
      readdirSync(this.#path('trees'));
      return false;
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return true;
      throw error;
    }
  }

  #readKey(): Buffer {
    if (this.#key) return this.#key;
    mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
    const file = this.#path('key');
    const draft = `${file}.${process.pid}`;
    writeFileSync(draft, randomBytes(32), { mode: 0o600 });
    try {
      // Linked into place whole: of several processes one is first, and all read the same.
      linkSync(draft, file);
    } catch (error) {
      if (systemCode(error) !== 'EEXIST') throw error;
    } finally {
      rmSync(draft, { force: true });
    }
    return (this.#key = readFileSync(file));
  }

  #path(...names: string[]): string {
    return join(this.#directory, ...names);
  }
}

const uploadOf = (user: string): string => USER.exec(user)?.[1] ?? basename(user);

function link(target: string, path: string): void {
  try {
    symlinkSync(target, path);
  } catch (error) {
    if (systemCode(error) !== 'EEXIST') throw error;
    if (readlinkSync(path) === target) return;
    rmSync(path, { force: true });
    symlinkSync(target, path);
  }
}

/** Readers see the old or the new text. */
function writeWhole(path: string, text: string): void {
  const draft = `${path}.${process.pid}.new`;
  writeFileSync(draft, text, { mode: 0o600 });
  renameSync(draft, path);
}
