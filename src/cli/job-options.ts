/** The options of `flashpods run` that are fields of a job, from the table of fields. */
import { Option } from 'commander';
import type { GivenCache } from '../caches/cache.ts';
import { FIELD_NAMES, type FieldName, type FieldOption, fieldOf } from '../jobs/description/fields.ts';
import type { WorkerRequest } from '../jobs/description/types.ts';
import {
  cache,
  gigabytes,
  hours,
  integerFrom,
  keyValue,
  listed,
  minutes,
  seconds,
  several,
} from './option-values.ts';

const READERS: Readonly<
  Record<Exclude<FieldOption['value'], 'text' | 'flag' | 'no'>, (value: string) => unknown>
> = {
  whole: integerFrom(1),
  gigabytes,
  hours,
  minutes,
  seconds: (value) => Math.ceil(seconds(value)),
  pairs: (value: string, earlier?: Readonly<Record<string, string>>) => keyValue(value, earlier),
  names: (value: string, earlier?: readonly string[]) => listed(value, earlier),
  several: (value: string, earlier?: readonly string[]) => several(value, earlier),
  caches: (value: string, earlier?: readonly GivenCache[]) => cache(value, earlier),
};

/** What a person who types the option should know beside what it means. */
const NOTES: Readonly<Record<FieldOption['value'], string>> = {
  text: '',
  whole: '',
  flag: '',
  no: '',
  gigabytes: '',
  hours: ', such as 7d or 12h (bare number: hours)',
  minutes: ', such as 90m or 2h (bare number: minutes)',
  seconds: ', such as 5m or 1h (bare number: seconds)',
  pairs: '; repeatable',
  names: '; separated by commas, repeatable',
  several: '; repeatable',
  caches: '; as npm, npm:write, cargo:/home/job/.cargo or deps:/work/deps:write; repeatable',
};

const OPTIONS: readonly { readonly field: FieldName; readonly option: FieldOption }[] = FIELD_NAMES.flatMap(
  (field) => {
    const { option } = fieldOf(field);
    return option ? [{ field, option }] : [];
  },
);

/** ` (default 2, at most 8)`, of a server that sets nothing else. */
function describeDefault(field: FieldName): string {
  const { range, default: usual, setting } = fieldOf(field);
  if (range) return ` (default ${range.worker.default}, at most ${range.worker.max})`;
  if (setting) return ' (default: the server’s, see `flashpods image ls`)';
  return typeof usual === 'string' || typeof usual === 'number' ? ` (default ${usual})` : '';
}

const toOption = (field: FieldName, { flags, value, choices }: FieldOption): Option => {
  const meaning = value === 'no' ? `don't ${fieldOf(field).meaning}` : fieldOf(field).meaning;
  const option = new Option(flags, `${meaning}${NOTES[value]}${describeDefault(field)}`);
  if (choices) option.choices(choices);
  if (value !== 'text' && value !== 'flag' && value !== 'no') option.argParser(READERS[value]);
  return option;
};

export const jobOptions = (): Option[] => OPTIONS.map(({ field, option }) => toOption(field, option));

function valueOf(field: FieldName, option: FieldOption, options: Readonly<Record<string, unknown>>): unknown {
  const given = options[toOption(field, option).attributeName()];
  if (given === undefined) return fieldOf(field).asked;
  return option.value === 'no' ? false : given;
}

/** What was given of the fields, and what a person means who gives nothing, by their names; the server checks the values. */
export const fieldsGiven = (options: object): Omit<Partial<WorkerRequest>, 'type' | 'command'> =>
  Object.fromEntries(
    OPTIONS.map(({ field, option }): [string, unknown] => [
      field,
      valueOf(field, option, options as Readonly<Record<string, unknown>>),
    ]).filter(([, value]) => value !== undefined),
  );
