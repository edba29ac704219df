import { json, operation, type Operation } from '../../operation.ts';
import type { ApiResources } from '../../resources.ts';
import { presentHost } from './present.ts';
import { hostNameParams, hostSchema } from './schema.ts';

const asItIs = { 200: json('As it is now.', hostSchema) };

export const hostOperations = ({ hosts }: Pick<ApiResources, 'hosts'>): readonly Operation[] => [
  operation({
    id: 'getHost',
    tag: 'server',
    method: 'get',
    path: '/hosts/{name}',
    summary: 'One host, and what it still runs',
    scope: 'admin',
    params: hostNameParams,
    answers: asItIs,
    errors: ['host_not_found'],
    async handle(ctx, { params: { name } }) {
      ctx.body = presentHost(await hosts.get(name));
    },
  }),
  operation({
    id: 'drainHost',
    tag: 'server',
    method: 'post',
    path: '/hosts/{name}/drain',
    summary: 'Drain a host: no new jobs, until it is empty',
    description:
      'It gets nothing new, over restarts of its worker and of Redis, until it is undrained; what runs there goes on. It is safe to repeat, and the answer says whether the host is empty.',
    scope: 'admin',
    params: hostNameParams,
    answers: asItIs,
    errors: ['host_not_found'],
    async handle(ctx, { params: { name } }) {
      ctx.body = presentHost(await hosts.drain(name));
    },
  }),
  operation({
    id: 'undrainHost',
    tag: 'server',
    method: 'post',
    path: '/hosts/{name}/undrain',
    summary: 'Undrain a host: it takes jobs again',
    scope: 'admin',
    params: hostNameParams,
    answers: asItIs,
    errors: ['host_not_found', 'service_unavailable'],
    async handle(ctx, { params: { name } }) {
      ctx.body = presentHost(await hosts.undrain(name));
    },
  }),
  operation({
    id: 'removeHost',
    tag: 'server',
    method: 'delete',
    path: '/hosts/{name}',
    summary: 'Forget a host that will not come back',
    description:
      'Refused while its worker lives or its jobs are not over. A worker that registers under the name makes it known again.',
    scope: 'admin',
    params: hostNameParams,
    answers: { 204: { description: 'It is forgotten.' } },
    errors: ['host_not_found', 'host_in_use', 'service_unavailable'],
    async handle(ctx, { params: { name } }) {
      await hosts.remove(name);
      ctx.status = 204;
    },
  }),
];
