import { abandonedOf, principalOf, viewOf } from '../../context.ts';
import { json, operation, type Operation } from '../../operation.ts';
import type { ApiResources } from '../../resources.ts';
import { presentImages } from './present.ts';
import { imageListSchema, imagesQuery, removalQuery, removalSchema } from './schema.ts';

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
  operation({
    id: 'removeImage',
    tag: 'server',
    method: 'delete',
    path: '/images',
    summary: 'Remove an image, or what was installed over it',
    description:
      'From all hosts that have it. With `packages` what jobs of yours have installed goes (with the scope `admin`, of all owners); without, the image itself, which takes the scope `admin` where it is shared. An image that a job uses stays.',
    scope: 'jobs:write',
    query: removalQuery,
    answers: { 200: json('It is gone.', removalSchema) },
    errors: ['image_not_found', 'image_in_use', 'container_error', 'service_unavailable', 'too_many_open'],
    async handle(ctx, { query: { image, packages } }) {
      const hosts = await images.remove(
        principalOf(ctx),
        { image, packages },
        abandonedOf(ctx, 'waiting_requests'),
      );
      ctx.body = { hosts: [...hosts] };
    },
  }),
];
