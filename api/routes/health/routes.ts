import { VERSION } from '../../../src/version.ts';
import type { Health } from '../../health.ts';
import { operation, type Operation } from '../../operation.ts';
import { healthSchema } from './schema.ts';

const content = { 'application/json': healthSchema };

export const healthOperations = (health: Health): readonly Operation[] => [
  operation({
    id: 'getHealth',
    tag: 'server',
    method: 'get',
    path: '/health',
    summary: 'Whether the service works',
    description:
      'Answers within a second, also when a part of the service hangs. `degraded`: something is away that jobs can wait for.',
    scope: 'public',
    uncounted: true,
    answers: {
      200: { description: '`healthy` or `degraded`.', content },
      503: { description: '`unhealthy`.', content },
      400: { description: 'The request can’t be read as HTTP.' },
    },
    errors: [],
    async handle(ctx) {
      const { status, checks } = await health.report();
      ctx.status = status === 'unhealthy' ? 503 : 200;
      ctx.body = { status, version: VERSION, uptime_seconds: Math.floor(process.uptime()), checks };
    },
  }),
];
