import type { HostImages } from '../../src/images/service.ts';
import type { QueueResources } from '../resources.ts';

/** What the hosts said lately that they have, but for those that are lost. @throws when Redis is away */
export async function stocksOf({
  queue,
  images,
}: Pick<QueueResources, 'queue' | 'images'>): Promise<HostImages> {
  const { hosts } = await queue.capacity();
  return images.stocks(hosts.flatMap(({ name, state }) => (state === 'lost' ? [] : [name])));
}
