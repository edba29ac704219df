/** What the semaphore's scripts refuse, by the code they return (`includes/codes.lua`). */
export const REFUSALS = {
  [-1]: 'unknown_host',
  [-2]: 'fenced',
  [-3]: 'lease_ended',
  [-4]: 'draining',
  [-5]: 'not_synchronised',
  [-6]: 'not_waiting',
  [-7]: 'already_reserved',
  [-8]: 'no_room',
  [-9]: 'not_reserved',
  [-10]: 'already_claimed',
  [-11]: 'data_lost',
  [-12]: 'over_limit',
  [-13]: 'lease_live',
} as const;

export type RefusalReason = (typeof REFUSALS)[keyof typeof REFUSALS];

/** The semaphore said no, and changed nothing. */
export class SemaphoreRefusal extends Error {
  override readonly name = 'SemaphoreRefusal';
  readonly reason: RefusalReason;

  constructor(operation: string, reason: RefusalReason, subject: string) {
    super(`${operation} of ${subject} refused: ${reason}`);
    this.reason = reason;
  }
}

export const isRefusal = (error: unknown, ...reasons: RefusalReason[]): error is SemaphoreRefusal =>
  error instanceof SemaphoreRefusal && (reasons.length === 0 || reasons.includes(error.reason));
