import type { z } from 'zod';

export interface WrongField {
  /** Path of the field with dots; empty for the whole. */
  readonly field: string;
  /** One sentence that names it. */
  readonly message: string;
}

/** Every field that a schema refused, and every one that it does not know. `whole` names what the fields are of. */
export const wrongFields = (issues: readonly z.core.$ZodIssue[], whole = 'the body'): WrongField[] =>
  issues.flatMap((issue) => {
    if (issue.code === 'unrecognized_keys') {
      return issue.keys.map((key) => {
        const field = [...issue.path, key].join('.');
        return { field, message: `unknown field \`${field}\`` };
      });
    }
    const field = issue.path.join('.');
    const message = issue.message.replace(/^Invalid input: /, '');
    return { field, message: field === '' ? `${whole}: ${message}` : `\`${field}\`: ${message}` };
  });

/** The messages as one. */
export const sentenceOf = (fields: readonly WrongField[]): string =>
  fields.map(({ message }) => message).join('; ');
