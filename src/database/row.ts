import type { Snake } from '../jobs/description/names.ts';

/** As SQLite has it: booleans are 0 or 1, objects are JSON. */
export type Stored<Value> = Value extends boolean ? number : Value extends object ? string : Value;

/** A row: its columns have the names of the record's fields in snake case. */
export type Row<Entry> = {
  -readonly [Key in keyof Entry as Key extends string ? Snake<Key> : never]: Stored<Entry[Key]>;
};
