/** The hosts of a {@link FarmView} that {@link choose} may use. */
import type { OpenHost } from './host-room.ts';
import type { Amount } from '../src/jobs/amount.ts';
import { type FarmView, type HostEntry, stateOf } from './semaphore/farm-view.ts';

type ImagesByHost = ReadonlyMap<string, ReadonlySet<string>>;

const NO_IMAGES: ReadonlySet<string> = new Set();

/**
 * Hosts that take work now, with what each of them holds.
 * @param lacking by host, the wanted images that it is not known to have
 * @param failedOn those of them that it could not get
 */
export function openHosts(
  view: FarmView,
  lacking: ImagesByHost,
  failedOn: (host: string) => ReadonlySet<string>,
): OpenHost[] {
  return view.hosts
    .filter((host) => stateOf(host) === 'up')
    .map((host) => ({
      name: host.name,
      capacity: withoutNeighbours(host, view.hosts),
      ...(host.diskMostMib === undefined ? {} : { diskMostMib: host.diskMostMib }),
      running: view.reservations.filter((reservation) => reservation.host === host.name),
      lacks: lacking.get(host.name) ?? NO_IMAGES,
      cannotGet: failedOn(host.name),
    }));
}

/** Less what other hosts on the same file system have promised of its disk; `reserve.lua` counts the same way. */
function withoutNeighbours(host: HostEntry, all: readonly HostEntry[]): Amount {
  const { diskMib, ...rest } = host.capacity;
  if (diskMib === undefined) return rest;
  const others = all.filter(
    ({ name, diskPlace, lost }) => name !== host.name && diskPlace === host.diskPlace && !lost,
  );
  return { ...rest, diskMib: others.reduce((left, { used }) => left - (used.diskMib ?? 0), diskMib) };
}
