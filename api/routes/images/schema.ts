import { z } from 'zod';

export const imagesQuery = z.strictObject({
  program: z.string().min(1).max(255).optional().describe('only those that have this program'),
});

export const removalQuery = z.strictObject({
  image: z.string().min(1).max(255).describe('as `GET /images` calls it: `name` or `reference`'),
  packages: z
    .string()
    .max(4_000)
    .default('')
    .transform((list) => list.split(',').filter(Boolean))
    .describe('what was installed over it, with commas between; none: the image itself'),
});

export const removalSchema = z.object({ hosts: z.array(z.string()).describe('hosts that had it') });

export const imageListSchema = z.object({
  images: z.array(
    z.object({
      name: z.string().describe('what a job may call it'),
      reference: z.string().describe('its name in full'),
      digest: z.string(),
      size_bytes: z.int(),
      packages: z
        .array(z.string())
        .describe('what jobs of yours have installed over it (`packages`), kept for the next one'),
      summary: z.string().nullable().describe('what is in it, one line'),
      programs: z.record(z.string(), z.string()).describe('versions of its main programs'),
      shared: z.boolean().describe('everybody may use it; otherwise it is one of your own'),
      hosts: z.array(z.string()).describe('hosts that have it'),
    }),
  ),
  buildable: z
    .array(z.object({ name: z.string(), summary: z.string(), programs: z.array(z.string()) }))
    .describe('images of ours that no host has: `flashpods image build NAME` on a host makes one'),
  defaults: z
    .object({ worker: z.string(), agent: z.string().nullable() })
    .describe('images of jobs that name none; null: such a job has to name one'),
  allows_root: z.boolean().describe('whether a job may ask for `root`'),
});
