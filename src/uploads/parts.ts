import type { Logger } from '../observability/logger.ts';
import type { TreeProcesses } from '../tree-process/tree-processes.ts';
import type { IncomingTrees } from './incoming-trees.ts';
import type { UploadLimits } from './limits.ts';
import type { Rsync } from './rsync/rsync.ts';
import type { SnapshotStore } from './snapshot-store.ts';
import type { TotalRoom } from './total-room.ts';
import type { UploadFiles } from './upload-files.ts';
import type { UploadStates } from './upload-states.ts';
import type { UploadStore } from './upload-store.ts';
import type { Writers } from './writers.ts';

/** What the upload service is made of, made once by it; each part is given those that it uses. */
export interface UploadParts {
  readonly store: UploadStore;
  readonly snapshots: SnapshotStore;
  readonly limits: UploadLimits;
  readonly rsync: Rsync;
  readonly logger: Logger;
  readonly trees: TreeProcesses;
  readonly incoming: IncomingTrees;
  readonly writers: Writers;
  readonly states: UploadStates;
  readonly room: TotalRoom;
  readonly files: UploadFiles;
}
