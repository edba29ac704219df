/** The hosts of a {@link FarmView} that {@link choose} may use. */
import type { OpenHost } from './host-room.ts';
import { type FarmView, stateOf } from './semaphore/farm-view.ts';

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
      capacity: host.capacity,
      running: view.reservations.filter((reservation) => reservation.host === host.name),
      lacks: lacking.get(host.name) ?? NO_IMAGES,
      cannotGet: failedOn(host.name),
    }));
}
