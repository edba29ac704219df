/**
 * How far a listener has come: the id of every server-sent event, and what `Last-Event-ID` brings back.
 *
 * | id                  | everything up to and with it was told                                               |
 * |---------------------|-------------------------------------------------------------------------------------|
 * | `POSITION`          | the journal through this entry                                                      |
 * | `POSITION.OFFSET`   | the same, and the job's log before this byte                                        |
 * | `POSITION.OFFSET.N` | the journal before this entry, the log before this byte, the entry's first N artifacts |
 */

export interface EventsCursor {
  /** The journal through this position was told. */
  readonly after: number;
  /** The log before this byte was told. */
  readonly logOffset: number;
  /** This many artifacts of the entry at `after + 1` were told, its state not yet. */
  readonly artifacts: number;
}

export const BEGINNING: EventsCursor = { after: 0, logOffset: 0, artifacts: 0 };

/** @returns null for what no event ever had as its id */
export function parseEventId(id: string): EventsCursor | null {
  const match = /^(\d{1,15})(?:\.(\d{1,15})(?:\.(\d{1,9}))?)?$/.exec(id);
  if (!match) return null;
  const position = Number(match[1]);
  const logOffset = Number(match[2] ?? 0);
  if (match[3] === undefined) return { after: position, logOffset, artifacts: 0 };
  const artifacts = Number(match[3]);
  return position > 0 && artifacts > 0 ? { after: position - 1, logOffset, artifacts } : null;
}

/** Of the entry itself; `logOffset` only in the stream of one job. */
export const entryId = (position: number, logOffset: number | null): string =>
  logOffset === null ? String(position) : `${position}.${logOffset}`;

/** Of the `count`-th artifact of the entry, from 1. */
export const artifactId = (position: number, logOffset: number | null, count: number): string =>
  `${position}.${logOffset ?? 0}.${count}`;
