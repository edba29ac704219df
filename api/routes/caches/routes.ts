import { requireScope } from '../../../src/identity/principal.ts';
import { abandonedOf, principalOf, viewOf } from '../../context.ts';
import { json, operation, type Operation } from '../../operation.ts';
import type { ApiResources } from '../../resources.ts';
import { presentCaches } from './present.ts';
import { cacheListSchema, cacheRemovalQuery, cacheRemovalSchema } from './schema.ts';

export const cacheOperations = ({ caches }: Pick<ApiResources, 'caches'>): readonly Operation[] => [
  operation({
    id: 'listCaches',
    tag: 'server',
    method: 'get',
    path: '/caches',
    summary: 'Caches that hosts keep',
    description:
      'Those of the caller (with the scope `admin`, of everybody), and who wrote them. A host is asked every few seconds.',
    scope: 'jobs:read',
    answers: { 200: json('As it is now.', cacheListSchema) },
    errors: ['service_unavailable'],
    async handle(ctx) {
      ctx.body = presentCaches(await caches.list(viewOf(ctx)));
    },
  }),
  operation({
    id: 'removeCache',
    tag: 'server',
    method: 'delete',
    path: '/caches',
    summary: 'Remove a cache',
    description:
      'From all hosts that have it. A job that has it mounted keeps it to its end, and does not bring it back.',
    scope: 'jobs:write',
    query: cacheRemovalQuery,
    answers: { 200: json('It is gone.', cacheRemovalSchema) },
    errors: ['cache_not_found', 'container_error', 'service_unavailable', 'too_many_open'],
    async handle(ctx, { query: { cache, scope, owner } }) {
      const who = principalOf(ctx);
      if (owner !== undefined && owner !== who.owner) requireScope(who, 'admin');
      const removal = { owner: owner ?? who.owner, name: cache, scope: scope ?? null };
      const hosts = await caches.remove(removal, abandonedOf(ctx, 'waiting_requests'));
      ctx.body = { hosts: [...hosts] };
    },
  }),
];
