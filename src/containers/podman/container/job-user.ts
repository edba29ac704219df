/**
 * Under which id of its container a job's files lie that it may change. They belong to one host id, for every
 * image; git and others insist on owning what they work on, and nobody in there may change an owner.
 */

/** Size of the range of ids that containers map into, and of the range that is reserved for them. */
export const ID_RANGE_SIZE = 65_536;

/** The id of an image's `USER`; null for a name that only its `/etc/passwd` can tell. */
export function userId(user: string): number | null {
  const name = user.split(':')[0] ?? '';
  if (name === '' || name === 'root') return 0;
  return /^\d{1,9}$/.test(name) ? Number(name) : null;
}

/** @param passwd `/etc/passwd`, or a tar of it @returns 0 when it has no such name: Podman will say so better */
export function userIdIn(passwd: string, user: string): number {
  const name = user.split(':')[0] ?? '';
  for (const line of passwd.split(/[\n\0]/)) {
    const [login, , id] = line.split(':');
    if (login === name && id !== undefined && /^\d{1,9}$/.test(id)) return Number(id);
  }
  return 0;
}

export interface IdRange {
  readonly container_id: number;
  readonly host_id: number;
  readonly size: number;
}

/** The whole range in order, but that the first host id is behind `owner`, and the one that would be, behind root. */
export function idMap(idBase: number, owner: number): IdRange[] {
  // Ids beyond the range have nothing behind them: such an image can't be started at all.
  if (owner === 0 || owner >= ID_RANGE_SIZE)
    return [{ container_id: 0, host_id: idBase, size: ID_RANGE_SIZE }];
  return [
    { container_id: 0, host_id: idBase + owner, size: 1 },
    { container_id: 1, host_id: idBase + 1, size: owner - 1 },
    { container_id: owner, host_id: idBase, size: 1 },
    { container_id: owner + 1, host_id: idBase + owner + 1, size: ID_RANGE_SIZE - owner - 1 },
  ].filter(({ size }) => size > 0);
}
