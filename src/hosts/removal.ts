/** Things that are to go from the hosts that have them: how hosts are told, and what they answer. */
import { FlashpodsError } from '../errors.ts';
import { pause } from '../timing/bell.ts';

/** For the word of all hosts: a host looks at once, an image of many layers takes some seconds. */
export const ANSWER_WITHIN_MS = 20_000;

/** An image, or what was installed over one. */
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
export interface Removals<Removal> {
  /** Asks hosts. @returns what it is called @throws FlashpodsError service_unavailable, as below */
  ask(hosts: readonly string[], removal: Removal): Promise<string>;
  /** What they said until now, by host. */
  outcomes(id: string): Promise<ReadonlyMap<string, RemovalOutcome>>;
}

const ASK_EVERY_MS = 50;

/** What the hosts said, as soon as all have, else after a while. */
export async function answered(
  removals: Pick<Removals<never>, 'outcomes'>,
  id: string,
  hosts: readonly string[],
  signal: AbortSignal,
): Promise<ReadonlyMap<string, RemovalOutcome>> {
  for (const began = performance.now(); ; await pause(ASK_EVERY_MS, signal)) {
    const outcomes = await removals.outcomes(id);
    if (hosts.every((host) => outcomes.has(host)) || performance.now() - began > ANSWER_WITHIN_MS)
      return outcomes;
  }
}

/**
 * @param name of what is to go
 * @returns the hosts, if all have removed it
 * @throws FlashpodsError image_in_use, container_error, service_unavailable when a host did not answer
 */
export function settled(
  outcomes: ReadonlyMap<string, RemovalOutcome>,
  hosts: readonly string[],
  name: string,
): readonly string[] {
  const those = (state: RemovalOutcome['state']): string[] =>
    hosts.filter((host) => outcomes.get(host)?.state === state);
  const [inUse, failed] = [those('in use'), those('failed')];
  if (inUse.length > 0)
    throw new FlashpodsError('image_in_use', `A job uses ${name} on ${inUse.join(', ')}.`, {
      details: { hosts: inUse },
    });
  if (failed.length > 0)
    throw new FlashpodsError(
      'container_error',
      `${failed.join(', ')} could not remove ${name}: ${outcomes.get(failed[0] ?? '')?.reason}`,
    );
  const silent = hosts.filter((host) => !outcomes.has(host));
  if (silent.length > 0)
    throw new FlashpodsError(
      'service_unavailable',
      `${silent.join(', ')} did not say within ${ANSWER_WITHIN_MS / 1000} seconds whether ${name} is gone.`,
    );
  return hosts;
}
