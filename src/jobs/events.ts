/** The one map of the journal's events: what each is called, what it carries, and what it says (docs/journal.md). */
import type { JobType } from './description/fields.ts';
import type { EndingReason, JobState } from './states.ts';

/** What every event carries: how its job stood when it was written. */
export interface EventBase {
  readonly status: JobState;
  readonly epoch: number;
}

/** By the event's type, what it carries beside {@link EventBase}. No secrets and nothing that a caller wrote. */
export interface EventPayloads {
  accepted: { readonly type: JobType };
  queued: object;
  waiting: { readonly why: string; readonly reason: string };
  taken: { readonly host: string };
  given_back: { readonly reason: 'no_reservation' | 'no_room' | 'unclaimed' };
  started: object;
  ending_decided: { readonly reason: EndingReason };
  ended: { readonly exit_code: number | null; readonly error: string | null };
  cancelled: { readonly reason: 'cancel' };
  failed_to_start: {
    readonly reason: 'queue_timeout' | 'image_pull_failed';
    readonly waiting_reason?: string;
  };
  lost: { readonly error: string };
  cleaning: object;
  cleaned: object;
}

export type EventType = keyof EventPayloads;

export const EVENTS: { readonly [T in EventType]: string } = {
  accepted: 'The job was created.',
  queued: 'The queue has the job.',
  waiting: 'The reason for which the job waits is another one now.',
  taken: 'A dispatcher chose a host for the job, and the job is that host’s.',
  given_back: 'The dispatch came to nothing; the job waits again in its old place.',
  started: 'The container of the job runs.',
  ending_decided: 'It is decided why the job ends; nothing that comes later changes that.',
  ended: 'The host has written the job’s result, artifacts included.',
  cancelled: 'The job was cancelled with nothing of it left to end on a host.',
  failed_to_start: 'The job failed before a host had it.',
  lost: 'The host of the job did not come back.',
  cleaning: 'The last files of the job are being deleted.',
  cleaned: 'Logs and artifacts of the job are deleted.',
};

/** An event to be written with a change of state; the store adds {@link EventBase}. */
export type NewEvent = {
  [T in EventType]: { readonly type: T; readonly payload: EventPayloads[T] };
}[EventType];

/** An entry of the append-only journal. */
export type JobEvent = {
  [T in EventType]: {
    readonly position: number;
    readonly jobId: string;
    /** Counts a job's entries from 1 without gaps. */
    readonly seq: number;
    readonly type: T;
    readonly payload: EventBase & EventPayloads[T];
    readonly actor: string;
    readonly at: number;
  };
}[EventType];
