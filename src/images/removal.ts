/** For the word of all hosts: a host looks at once, an image of many layers takes some seconds. */
export const ANSWER_WITHIN_MS = 20_000;

/** An image, or what was installed over one, that is to go from the hosts that have it. */
export interface ImageRemoval {
  /** `localhost/flashpods/node:latest`. */
  readonly reference: string;
  /** None: the image itself. */
  readonly packages: readonly string[];
  /** Whose: null is everybody's. */
  readonly owner: string | null;
}

/** What a host did about it. */
export interface RemovalOutcome {
  /** What was not there counts as removed. */
  readonly state: 'removed' | 'in use' | 'failed';
  /** Why it failed, a sentence. */
  readonly reason?: string;
}

/** Hosts that were told of one. */
export interface ImageRemovals {
  /** Asks hosts. @returns what it is called @throws FlashpodsError service_unavailable, as below */
  ask(hosts: readonly string[], removal: ImageRemoval): Promise<string>;
  /** What they said until now, by host. */
  outcomes(id: string): Promise<ReadonlyMap<string, RemovalOutcome>>;
}
