/** What the values of a job's fields must look like. The table in `fields.ts` names these; only this file loads zod. */
import { z } from 'zod';
import { workPatternsProblem } from '../../artifacts/work-patterns.ts';
import { CACHE_MODES } from '../../caches/cache.ts';
import {
  CACHE_NAME_PATTERN,
  CACHE_PATH_PATTERN,
  CACHE_SCOPE_PATTERN,
  cachesProblem,
  MAX_CACHES,
} from '../../caches/known.ts';
import { isUploadId } from '../../ids.ts';
import { isPackage, MAX_PACKAGES, nameOf, PACKAGE_PATTERN } from '../../packages/names.ts';
import { BRANCH_PATTERN, GIT_URL_PATTERN, isBranchName, isGitUrl } from '../git.ts';

/** What is said of a text that is too long: how long it is, and what to do instead. */
const tooLong =
  (max: number, wayOut: string) =>
  ({ input }: { readonly input: unknown }): string =>
    `must be at most ${max} bytes of UTF-8, and is ${Buffer.byteLength(String(input))}${wayOut === '' ? '' : `: ${wayOut}`}`;

// `meta` says in the OpenAPI document what a refinement checks, as far as JSON Schema can.
const utf8Bytes = (max: number, wayOut = '') =>
  z
    .string()
    .refine((value) => Buffer.byteLength(value) <= max, { error: tooLong(max, wayOut) })
    .meta({ type: 'string', maxLength: max, description: `at most ${max} bytes of UTF-8` });
// execve takes no NUL, and a lone surrogate can't be written as UTF-8: both would arrive changed.
const plain = (max: number, wayOut?: string) =>
  utf8Bytes(max, wayOut)
    .refine((value) => !value.includes('\0'), 'must not contain NUL bytes')
    .refine((value) => value.isWellFormed(), 'must be valid Unicode')
    .meta({ type: 'string', maxLength: max, description: `at most ${max} bytes of UTF-8, without NUL` });
const filled = (max: number, wayOut?: string) =>
  plain(max, wayOut)
    .refine((value) => value.trim() !== '', 'must not be empty')
    .meta({ minLength: 1, pattern: String.raw`\S` });

const IMAGE =
  /^(?:[a-zA-Z0-9.-]+(?::\d{1,5})?\/)?[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*(?::[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?(?:@sha256:[0-9a-f]{64})?$/;
const ENV_NAME = /^[A-Za-z_][A-Za-z0-9_]{0,127}$/;
const LABEL_KEY = /^[A-Za-z0-9]([A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?$/;
const UUID_V4 = /^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-4[0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12}$/;

/** One variable of a process may have 128 KiB (`MAX_ARG_STRLEN`); the block of all of them is kept well under 2 MB. */
const ENV_VALUE_BYTES = 100_000;
const ENV_TOTAL_BYTES = 64 * 1024;

const MAX_PATTERNS = 100;
const MAX_PATTERN_LENGTH = 1_000;

export const schemas = {
  plain,
  filled,
  oneOf: <const Values extends readonly [string, ...string[]]>(values: Values) => z.enum(values),
  flag: () => z.boolean(),
  whole: (max?: number) => {
    const whole = z.number().int('must be an integer').min(1, 'must be at least 1');
    return max === undefined ? whole : whole.max(max);
  },
  uuid: () => z.string().regex(UUID_V4, 'must be a UUID v4'),
  image: () => z.string().max(255).regex(IMAGE, 'must be an image reference'),
  packages: () =>
    z
      .array(
        z
          .string()
          .refine(isPackage, 'must be the name of a Debian package, such as libreadline-dev or tree=2.1.0-1')
          .meta({ pattern: PACKAGE_PATTERN }),
      )
      .max(MAX_PACKAGES)
      .refine(
        (packages) => new Set(packages.map(nameOf)).size === new Set(packages).size,
        'must not name two versions of a package',
      ),
  patterns: () =>
    z
      .array(z.string().max(MAX_PATTERN_LENGTH))
      .max(MAX_PATTERNS)
      .superRefine((patterns, context) => {
        const message = workPatternsProblem(patterns);
        if (message !== null) context.addIssue({ code: 'custom', message });
      }),
  caches: () =>
    z
      .array(
        z.strictObject({
          name: z.string().regex(new RegExp(CACHE_NAME_PATTERN), 'must be lower-case letters, digits, - . _'),
          path: z.string().regex(new RegExp(CACHE_PATH_PATTERN), 'must be an absolute path').optional(),
          mode: z.enum(CACHE_MODES).optional(),
        }),
      )
      .max(MAX_CACHES)
      .superRefine((caches, context) => {
        const message = cachesProblem(caches);
        if (message !== null) context.addIssue({ code: 'custom', message });
      }),
  cacheScope: () =>
    z
      .string()
      .regex(new RegExp(CACHE_SCOPE_PATTERN), 'must be letters, digits and . _ / @ + -, at most 100')
      .meta({ maxLength: 100 }),
  upload: () =>
    z
      .string()
      .refine(isUploadId, 'must be the id of an upload')
      .meta({ type: 'string', pattern: '^upload_[a-z0-9-]{12}$' }),
  branch: () =>
    filled(255)
      .refine(isBranchName, 'must be a name that git takes for a branch')
      .meta({ pattern: BRANCH_PATTERN, description: 'a name that git takes for a branch' }),
  repository: () =>
    filled(2_048)
      .refine(
        isGitUrl,
        'must be https://…, http://…, git://…, ssh://… or user@host:path, without a user name or a password in an http address',
      )
      .meta({
        pattern: GIT_URL_PATTERN,
        description: 'http, https, git, ssh, or user@host:path; no credentials',
      }),
  environment: () =>
    z
      .record(z.string().regex(ENV_NAME, 'must be the name of a variable'), plain(ENV_VALUE_BYTES))
      .refine(
        (env) => Buffer.byteLength(JSON.stringify(env)) <= ENV_TOTAL_BYTES,
        `must be at most ${ENV_TOTAL_BYTES} bytes together`,
      )
      .refine(
        (env) => Object.keys(env).every((name) => !name.startsWith('FLASHPODS_')),
        'must not set FLASHPODS_ variables',
      )
      .meta({
        propertyNames: { pattern: ENV_NAME.source },
        description: `no name begins with \`FLASHPODS_\`; at most ${ENV_TOTAL_BYTES} bytes together`,
      }),
  labels: () =>
    z
      .record(
        z
          .string()
          .regex(LABEL_KEY, 'must be letters, digits, dots, slashes, hyphens and underscores, at most 63'),
        plain(255),
      )
      .refine((labels) => Object.keys(labels).length <= 32, 'must be at most 32')
      .meta({ propertyNames: { pattern: LABEL_KEY.source }, maxProperties: 32 }),
};

export type Schemas = typeof schemas;

/**
 * The kind and the length of a value, without what only the API checks (the grammar of an image, the names of
 * variables): enough for an answer, and for filling in a form.
 */
export function kindOf(schema: z.ZodType): z.ZodType {
  if (schema instanceof z.ZodString) {
    const max = schema.meta()?.['maxLength'] ?? schema.maxLength;
    const text = z.string().min(schema.safeParse('').success ? 0 : 1);
    if (typeof max !== 'number') return text;
    // In bytes, as the API counts them; characters are never more.
    const long = schema.safeParse('x'.repeat(max + 1)).error?.issues[0]?.message ?? '';
    const wayOut = /, and is \d+: (.*)$/.exec(long)?.[1] ?? '';
    const fits = text.refine((value) => Buffer.byteLength(value) <= max, { error: tooLong(max, wayOut) });
    return fits.meta({ maxLength: max });
  }
  if (schema instanceof z.ZodNumber) {
    const { minValue, maxValue } = schema;
    const whole = z.int().min(minValue ?? 0);
    return maxValue === null || maxValue >= Number.MAX_SAFE_INTEGER ? whole : whole.max(maxValue);
  }
  if (schema instanceof z.ZodArray) return z.array(kindOf(schema.element as z.ZodType));
  return schema instanceof z.ZodRecord ? z.record(z.string(), z.string()) : schema;
}
