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
 *             writers/<user>  pid and start time of the connection that came last
 *             answers/<user>  what the service says to it: `ok <bytes of a file>` or `no <why>`
 * ```
 *
 * Closing an upload removes its link first and looks for writers afterwards; the gate writes the connection down as the
 * writer first and looks at the link afterwards. So nobody slips through between the two.
 */
import { createHmac, randomBytes } from 'node:crypto';
import { chownSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { linkSync, readlinkSync, symlinkSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { systemCode } from '../../errors.ts';
import { ifThere } from '../../files/if-missing.ts';
import { writeWholeSync } from '../../files/write-whole.ts';
import { isAlive, type ProcessIdentity } from '../../lifecycle/process-identity.ts';
import type { Logger } from '../../observability/logger.ts';
import type { TreeIds } from '../tree.ts';
import { daemonAddress } from './daemon.ts';
import { bytesWrittenBy, endAll, family, workingBelow } from './processes.ts';
import type { Rsync, RsyncCredentials, RsyncWriter, TransferRules } from './rsync.ts';
import { type Connections, TransferWatch } from './transfer-watch.ts';

/** Users end in the upload's id, so that the id needs no second place; what is before it can't be guessed. */
const USER = /^u[0-9a-f]{16}-(upload_[a-z0-9-]{12})$/;

export class RsyncAccess implements Rsync, Connections {
  readonly #directory: string;
  readonly #ids: TreeIds | null;
  readonly #logger: Logger;
  #key: Buffer | null = null;
  readonly #lines = new Map<string, string>();

  /**
   * @param directory of the daemon of this machine, which need not run
   * @param ids that trees are given to while files come; null: they stay ours
   */
  constructor(directory: string, ids: TreeIds | null, logger: Logger) {
    this.#directory = directory;
    this.#ids = ids;
    this.#logger = logger;
  }

  get munges(): boolean {
    return process.getuid?.() !== 0;
  }

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

  open(id: string, tree: string, base: string | null): void {
    const { user } = this.credentialsOf(id);
    for (const name of ['trees', 'bases', 'writers', 'answers']) {
      mkdirSync(this.#path(name), { recursive: true, mode: 0o700 });
    }
    mkdirSync(tree, { recursive: true, mode: 0o755 });
    if (this.#ids) chownSync(tree, this.#ids.uid, this.#ids.gid);
    if (base !== null) link(base, this.#path('bases', user));
    link(tree, this.#path('trees', user));
    this.#writeSecrets();
  }

  async close(id: string, tree: string): Promise<void> {
    if (this.#isUnused()) return;
    const { user } = this.credentialsOf(id);
    rmSync(this.#path('trees', user), { force: true });
    this.#writeSecrets();
    // Each connection that was admitted has written its name there, dead or alive.
    if (!existsSync(this.#path('writers', user))) return;
    // A connection whose daemon was killed has no parent of ours: it is known by where it works.
    await endAll(async () => [...family(this.#writer(user)), ...(await workingBelow(tree, 'rsync'))]);
  }

  forget(id: string): void {
    if (this.#isUnused()) return;
    const { user } = this.credentialsOf(id);
    for (const name of ['bases', 'writers', 'answers']) rmSync(this.#path(name, user), { force: true });
  }

  writers(): RsyncWriter[] {
    const answers = new Set(this.#users('answers'));
    return this.#users('writers').flatMap((user) => {
      const connection = this.#writer(user);
      return connection ? [{ uploadId: uploadOf(user), connection, answered: answers.has(user) }] : [];
    });
  }

  answer(id: string, verdict: number | string): void {
    const { user } = this.credentialsOf(id);
    const text = typeof verdict === 'number' ? `ok ${verdict}` : `no ${verdict}`;
    writeWholeSync(this.#path('answers', user), `${text}\n`);
  }

  isWriting(id: string): boolean {
    return !this.#isUnused() && this.#writer(this.credentialsOf(id).user) !== null;
  }

  bytesWritten({ connection }: RsyncWriter): number {
    return bytesWrittenBy(family(connection));
  }

  watch(rules: TransferRules): { stop(): Promise<void> } {
    const watch = new TransferWatch(this, rules, this.#logger);
    watch.start();
    return watch;
  }

  /** The living connection that the gate has made the upload's writer. */
  #writer(user: string): ProcessIdentity | null {
    const text = ifThere(() => readFileSync(this.#path('writers', user), 'utf8'), '');
    const [pid, startTicks = ''] = text.trim().split(' ');
    const writer = { pid: Number(pid), startTicks };
    return startTicks !== '' && isAlive(writer) ? writer : null;
  }

  /** Written from what is open, until it still is when it was written: other processes do the same. */
  #writeSecrets(): void {
    for (let written = ''; ;) {
      const users = this.#users('trees').sort();
      const text = users.map((user) => this.#lineOf(user)).join('');
      const isOpen = new Set(users);
      for (const user of this.#lines.keys()) if (!isOpen.has(user)) this.#lines.delete(user);
      if (text === written && text !== '') return;
      writeWholeSync(this.#path('secrets'), text);
      if (text === '') return;
      written = text;
    }
  }

  /** Derived once: every upload that is opened or closed writes the lines of all. */
  #lineOf(user: string): string {
    const line = this.#lines.get(user) ?? `${user}:${this.credentialsOf(uploadOf(user)).password}\n`;
    this.#lines.set(user, line);
    return line;
  }

  #users(name: string): string[] {
    return ifThere(() => readdirSync(this.#path(name)), []).filter((entry) => USER.test(entry));
  }

  /** Nothing was ever opened here. */
  #isUnused(): boolean {
    return !existsSync(this.#path('trees'));
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
