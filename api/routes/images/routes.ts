import { viewOf } from '../../context.ts';
import { operation, type Operation } from '../../operation.ts';
import type { ApiResources } from '../../resources.ts';
import { presentImages } from './present.ts';
import { imageListSchema, imagesQuery } from './schema.ts';

export const imageOperations = ({
  images,
  jobs,
}: Pick<ApiResources, 'images' | 'jobs'>): readonly Operation[] => [
  operation({
    id: 'listImages',
    tag: 'server',
    method: 'get',
    path: '/images',
    summary: 'Images that jobs can run in',
    description:
      'Those that are on a host now, with what is in them, and those that can be made. A host is asked every few seconds.',
    scope: 'jobs:read',
    query: imagesQuery,
    answers: { 200: { description: 'As it is now.', content: { 'application/json': imageListSchema } } },
    errors: ['service_unavailable'],
    async handle(ctx, { query: { program } }) {
      ctx.body = presentImages(await images.list(viewOf(ctx), program), jobs);
    },
  }),
];
