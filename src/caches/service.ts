/** Which caches the hosts keep for an owner, and how they go. */
import { FlashpodsError } from '../errors.ts';
import { answered, type Removals, settled } from '../hosts/removal.ts';
import { type CacheRemoval, type HostCache, isMeant } from './cache.ts';

/** By host. */
export type HostCaches = ReadonlyMap<string, readonly HostCache[]>;

export interface ListedCache extends HostCache {
  readonly host: string;
}

export interface CacheServiceResources {
  /** What the hosts said lately. @throws when nobody can say */
  readonly reports: () => Promise<HostCaches>;
  readonly removals: Removals<CacheRemoval>;
}

export class CacheService {
  readonly #r: CacheServiceResources;

  constructor(resources: CacheServiceResources) {
    this.#r = resources;
  }

  /**
   * By name, scope and host.
   * @param owner sees its own; null sees all
   * @throws FlashpodsError service_unavailable when Redis is away
   */
  async list(owner: string | null): Promise<readonly ListedCache[]> {
    const listed = [...(await this.#r.reports())].flatMap(([host, caches]) =>
      caches.map((cache): ListedCache => ({ ...cache, host })),
    );
    const order = ({ name, scope, owner: whose, host }: ListedCache): string =>
      JSON.stringify([name, scope, whose, host]);
    return listed
      .filter((cache) => owner === null || cache.owner === owner)
      .sort((a, b) => (order(a) < order(b) ? -1 : 1));
  }

  /**
   * Takes a cache away from all hosts that have it. Jobs that have it mounted keep it, and do not bring it back.
   * @returns the hosts that had it
   * @throws FlashpodsError cache_not_found, container_error, service_unavailable when a host does not answer; and the
   *   reason of `signal`
   */
  async remove(removal: CacheRemoval, signal: AbortSignal): Promise<readonly string[]> {
    const found = (await this.list(removal.owner)).filter((cache) => isMeant(cache, removal));
    const { name, scope } = removal;
    const words = scope === null ? name : `${name} (scope ${scope})`;
    if (found.length === 0)
      throw new FlashpodsError('cache_not_found', `No host has a cache ${words} of yours.`);
    const hosts = [...new Set(found.map(({ host }) => host))];
    const { removals } = this.#r;
    const id = await removals.ask(hosts, removal);
    return settled(await answered(removals, id, hosts, signal), hosts, `the cache ${words}`);
  }
}
