/**
 * Uploads by rsync, as the rest of the uploads sees them: which tree an upload's user may write into, and who writes
 * now. `access.ts` is the implementation; without a daemon it is {@link NO_RSYNC}.
 */
import type { ProcessIdentity } from '../../lifecycle/process-identity.ts';

export interface Rsync {
  /** `HOST:PORT` of the daemon, or null when there is none. */
  readonly address: string | null;
  /** Whether the daemon changes the targets of symlinks: it can't lock a writer into a tree unless it is root. */
  readonly munges: boolean;
  credentialsOf(id: string): RsyncCredentials;
  /** Lets the upload's user write into `tree`, which begins as a copy of `base`. Can be called again. */
  open(id: string, tree: string, base: string | null): void;
  /** Admits nobody any longer, and ends who writes; when it returns nothing writes into the tree through rsync. */
  close(id: string, tree: string): Promise<void>;
  /** After {@link close}, when the upload takes no more files. */
  forget(id: string): void;
  isWriting(id: string): boolean;
  /** Admits connections by the rules, and measures what they bring, until `stop`. No transfer begins without it. */
  watch(rules: TransferRules): { stop(): Promise<void> };
}

export interface RsyncCredentials {
  readonly user: string;
  readonly password: string;
}

export interface RsyncTarget extends RsyncCredentials {
  /** `HOST:PORT` at which the daemon listens. */
  readonly address: string;
}

/** What is asked about transfers; both sides know the upload by its id. */
export interface TransferRules {
  /** The largest file in bytes, or a sentence that refuses the connection. */
  admit(id: string): Promise<number | string>;
  /**
   * Looks at an upload into which rsync writes, or wrote until now.
   * @param grownBytes at most this much came since the last look; null: not known, or the transfer has ended
   * @returns whether the tree was measured, so that growth counts from here
   */
  look(id: string, grownBytes: number | null): Promise<boolean>;
}

/** A connection that wants to write, or does. */
export interface RsyncWriter {
  readonly uploadId: string;
  /** The connection, to tell one from the next. */
  readonly connection: ProcessIdentity;
  readonly answered: boolean;
}

export const NO_RSYNC: Rsync = {
  address: null,
  munges: false,
  credentialsOf: () => ({ user: '', password: '' }),
  open: () => undefined,
  close: () => Promise.resolve(),
  forget: () => undefined,
  isWriting: () => false,
  watch: () => ({ stop: () => Promise.resolve() }),
};
