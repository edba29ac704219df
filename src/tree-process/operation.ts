/** The operations of a tree process, and what each takes and gives. */
import type { CollectRequest } from '../artifacts/artifact-store.ts';
import type { Manifest } from '../artifacts/manifest.ts';
import type { SealRequest } from '../uploads/seal-tree.ts';
import type { Unpacked, UnpackRequest } from '../uploads/tar/unpack.ts';
import type { TreeFacts, TreeSize } from '../uploads/tree.ts';

/** What an operation is given beside its arguments. */
export interface OperationContext {
  /** What the caller sends along. */
  readonly input: AsyncIterable<Buffer>;
  readonly signal: AbortSignal;
  /** Tells the caller how much there is by now; resolves when there may be more. */
  readonly progress: (bytes: number) => Promise<void>;
}

type Operation<A, R> = (args: A, context: OperationContext) => Promise<R>;

export interface Operations {
  readonly measure: Operation<{ path: string }, TreeSize>;
  readonly munge: Operation<{ path: string }, void>;
  readonly unpack: Operation<UnpackRequest, Unpacked>;
  readonly seal: Operation<SealRequest, TreeFacts>;
  readonly remove: Operation<{ path: string }, void>;
  readonly collect: Operation<{ destination: string; request: Omit<CollectRequest, 'signal'> }, Manifest>;
}
