import { FlashpodsError } from '../../../src/errors.ts';
import { json, operation, type Operation } from '../../operation.ts';
import type { ApiResources } from '../../resources.ts';
import { presentCapacity } from './present.ts';
import { capacitySchema } from './schema.ts';

export const capacityOperations = ({ jobs }: Pick<ApiResources, 'jobs'>): readonly Operation[] => [
  operation({
    id: 'getCapacity',
    tag: 'server',
    method: 'get',
    path: '/capacity',
    summary: 'Hosts and queue',
    scope: 'jobs:read',
    answers: { 200: json('As it is now.', capacitySchema) },
    errors: ['service_unavailable'],
    async handle(ctx) {
      const report = await jobs.capacity().catch((cause: unknown) => {
        if (cause instanceof FlashpodsError) throw cause;
        throw new FlashpodsError('service_unavailable', 'The queue is away.', { cause });
      });
      ctx.body = presentCapacity(report);
    },
  }),
];
