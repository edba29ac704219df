/** The tool that lists images, and what a model is told of them beforehand. */
import { z } from 'zod';
import { showBytes } from '../../cli/quantity.ts';
import type { ImageAnswer, ImageListAnswer } from '../../client/answers.ts';
import { tool, type Tool } from '../definition.ts';
import { inTime } from '../patience.ts';
import { clip, printable } from '../printable.ts';
import { READS } from './arguments.ts';
import type { Shop } from '../making.ts';

/** More would crowd out what else a model is told. */
const DESCRIBED = 12;
const MAX_LISTED = 50;
const MAX_SUMMARY = 160;

const listInput = z.strictObject({
  program: z
    .string()
    .min(1)
    .max(255)
    .optional()
    .describe('only images that have this program, such as "cmake"'),
});

const listSchema = z.object({
  images: z.array(
    z.object({
      name: z.string().describe('what to give as `image`'),
      size_bytes: z.int(),
      packages: z
        .array(z.string())
        .optional()
        .describe('installed over it for earlier jobs of yours: there at once for the same `packages`'),
      summary: z.string().optional(),
      programs: z.record(z.string(), z.string()).describe('versions of the main programs'),
    }),
  ),
  default_image: z.string(),
  next: z.string(),
});

export function imageTools({ backend }: Shop): Tool[] {
  return [
    tool({
      name: 'list_images',
      title: 'List images',
      description:
        'Lists the images that a command can run in, with what is in each. For `image` of run_command and spawn_worker. With `program` only those that have it. What no image has, `packages` of those tools installs.',
      input: listInput,
      output: listSchema,
      annotations: { ...READS, title: 'List images' },
      call: async ({ program }, context) =>
        inTime(context.signal, async (signal) => {
          const list = await backend.images(program, signal);
          const images = list.images.slice(0, MAX_LISTED);
          const next = nextFor(list, program);
          const lines = images.map((image) => `${line(image)} [${showBytes(image.size_bytes)}]`);
          if (list.images.length > images.length)
            lines.push(`… and ${list.images.length - images.length} more`);
          return {
            content: [{ type: 'text', text: [...lines, `Next: ${next}`].join('\n') }],
            structuredContent: {
              images: images.map(({ name, size_bytes, summary, programs, packages = [] }) => ({
                name,
                size_bytes,
                ...(packages.length === 0 ? {} : { packages: [...packages] }),
                ...(summary === null ? {} : { summary }),
                programs,
              })),
              default_image: list.defaults.worker,
              next,
            },
          };
        }),
    }),
  ];
}

function nextFor({ images, buildable, defaults }: ImageListAnswer, program: string | undefined): string {
  const more =
    buildable.length === 0
      ? ''
      : ` Not here, but a person can make it on the host with \`flashpods image build NAME\`: ${buildable.map(({ name }) => name).join(', ')}.`;
  if (images.length > 0)
    return `Give a name as \`image\`. Without one a command runs in ${printable(defaults.worker)}.${more}`;
  return program === undefined
    ? `No host has said which images it has.${more}`
    : `No image here is known to have ${printable(program)}.${more}`;
}

const line = ({ name, summary, programs, packages = [] }: ImageAnswer): string => {
  if (packages.length > 0) return printable(clip(`${name} with packages ${packages.join(' ')}`, MAX_SUMMARY));

  const versions = Object.entries(programs).map(([program, version]) => `${program} ${version}`);
  const parts = [summary ?? '', versions.length > 0 ? `(${versions.join(', ')})` : ''].filter(Boolean);
  return printable(`${name}${parts.length > 0 ? `: ${clip(parts.join(' '), MAX_SUMMARY * 2)}` : ''}`);
};

/** For the server's instructions: what is where, before the first call. */
export function describeImages({ images, buildable, defaults }: ImageListAnswer): string {
  const usual = images.find(({ name, packages = [] }) => name === defaults.worker && packages.length === 0);
  const ours = images.filter(({ summary }) => summary !== null && summary !== usual?.summary);
  const others = ours.slice(0, DESCRIBED).map(line);
  return [
    `- Without \`image\` a command runs in ${usual ? line(usual) : printable(defaults.worker)}.`,
    others.length > 0 ? `- Other images, by the name to give as \`image\`: ${others.join('; ')}.` : null,
    buildable.length > 0
      ? `- Not on this farm yet: ${buildable.map(({ name }) => name).join(', ')} (a person makes one with \`flashpods image build NAME\`).`
      : null,
    '- What an image lacks, `packages` installs from Debian, once for all jobs that ask for the same: ["libreadline-dev"].',
    '- list_images says it anew, and finds the images that have a program. Other images have to come from a registry, which may be out of reach.',
  ]
    .filter((part) => part !== null)
    .join('\n');
}
