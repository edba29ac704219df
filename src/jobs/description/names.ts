/**
 * Names are in camel case inside, and in snake case where others see them: in the API and in the database. They change
 * here, once on the way in and once on the way out.
 */
export type Camel<Name extends string> = Name extends `${infer Head}_${infer Tail}`
  ? `${Head}${Capitalize<Camel<Tail>>}`
  : Name;

export type Snake<Name extends string> = Name extends `${infer Letter}${infer Rest}`
  ? `${Letter extends Lowercase<Letter> ? Letter : `_${Lowercase<Letter>}`}${Snake<Rest>}`
  : Name;

/** With all its keys, also those of records inside, in snake case. */
export type SnakeKeys<Value> = Value extends string | number | boolean | null | undefined
  ? Value
  : { [Key in keyof Value as Key extends string ? Snake<Key> : Key]: SnakeKeys<Value[Key]> };

export const camel = (name: string): string =>
  name.replaceAll(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());

export const snake = (name: string): string =>
  name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

/** Of a record whose keys are names of ours; keys that a caller chose must not come here. */
export const snakeKeys = <Value>(value: Value): SnakeKeys<Value> => renamed(value, snake) as SnakeKeys<Value>;
export const camelKeys = (value: unknown): unknown => renamed(value, camel);

function renamed(value: unknown, rename: (name: string) => string): unknown {
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, inner]) => [rename(name), renamed(inner, rename)]),
  );
}
