import type { z } from 'zod';
import type { ImageList } from '../../../src/images/service.ts';
import type { JobService } from '../../../src/jobs/service.ts';
import { referenceOf, shortName } from '../../../src/images/description.ts';
import type { imageListSchema } from './schema.ts';

export const presentImages = (
  { images, buildable }: ImageList,
  { limits, allowsRoot }: Pick<JobService, 'limits' | 'allowsRoot'>,
): z.infer<typeof imageListSchema> => ({
  images: images.map((image) => ({
    name: image.name,
    reference: image.reference,
    digest: image.digest,
    size_bytes: image.sizeBytes,
    packages: [...image.packages],
    summary: image.summary,
    programs: image.versions,
    shared: image.isShared,
    hosts: [...image.hosts],
  })),
  buildable: buildable.map(({ name, summary, programs }) => ({ name, summary, programs: [...programs] })),
  defaults: {
    worker: shortName(referenceOf(limits.worker.image ?? '')),
    agent: limits.agent.image === null ? null : shortName(referenceOf(limits.agent.image)),
  },
  allows_root: allowsRoot,
});
