import type { Job } from './job.ts';

/** How a waiting job stands, as far as anybody can tell at the moment. */
export interface Wait {
  /** Place in the queue, 1 is next; null when the queue does not hold it, or does not answer. */
  readonly position: number | null;
  /** One plain sentence or two, for people. Nothing of other owners' jobs but their number. */
  readonly reason: string;
  /** When it starts at the latest if nothing comes in between, ms since the Unix epoch; null when nobody can know. */
  readonly latestStart: number | null;
}

/** When the queue does not answer. */
export const waitUnknown = (job: Job): Wait => ({
  position: null,
  reason:
    job.status === 'pending'
      ? 'The queue does not answer at the moment. The job is accepted, and enters the queue when it is back.'
      : 'The queue does not answer at the moment. The job keeps its place.',
  latestStart: null,
});
