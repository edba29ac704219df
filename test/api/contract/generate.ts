/** Values by JSON Schema and values that break it, the same for the same seed. */
import fc from 'fast-check';
import type { Schema } from './document.ts';

export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** From 0 up to, without, 1 (mulberry32). */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  }

  /** Both ends included. */
  int(min: number, max: number): number {
    return min + Math.floor(this.next() * (max - min + 1));
  }

  chance(probability: number): boolean {
    return this.next() < probability;
  }

  pick<T>(values: readonly T[]): T {
    const value = values[Math.floor(this.next() * values.length)];
    if (value === undefined) throw new Error('nothing to pick from');
    return value;
  }
}

/** What breaks naive code: unicode, controls, other people's syntax. */
export const AWKWARD = [
  'ünï',
  '🦆🦆',
  'a b',
  '\n',
  '\r\n\t',
  '\u0000',
  'a\u0000b',
  '\ud800',
  '\u202e',
  '../../etc/passwd',
  "' or 1=1; --",
  '%s%n',
  '{{7*7}}',
  '__proto__',
  'constructor',
  '-1',
  '1e400',
] as const;

/** Strings of more than this are rare: they cost time and find nothing. */
const USUAL_LENGTH = 40;

export class Generator {
  readonly random: Random;
  readonly #seed: number;
  readonly #matching = new Map<string, readonly string[]>();
  /** Values that mean something to the server, by the name of the field. */
  readonly #known: (field: string) => readonly unknown[];

  constructor(seed: number, known: (field: string) => readonly unknown[]) {
    this.random = new Random(seed);
    this.#seed = seed;
    this.#known = known;
  }

  /** A value that the schema takes. */
  valid(schema: Schema, field = ''): unknown {
    const { random } = this;
    const known = this.#known(field);
    if (known.length > 0 && random.chance(0.6)) return random.pick(known);
    if (schema.enum) return random.pick(schema.enum);
    if (schema.anyOf) return this.valid(random.pick(schema.anyOf), field);
    switch (schema.type) {
      case 'object':
        return this.#object(schema);
      case 'array': {
        const count = random.int(schema.minItems ?? 0, Math.min(schema.maxItems ?? 3, 3));
        return Array.from({ length: count }, () => this.valid(schema.items ?? {}));
      }
      case 'integer':
      case 'number': {
        const { minimum = 0, maximum = 1_000_000 } = schema;
        return random.pick([
          minimum,
          maximum,
          random.int(minimum, maximum),
          random.int(minimum, Math.min(maximum, minimum + 5)),
        ]);
      }
      case 'boolean':
        return random.chance(0.5);
      case 'null':
        return null;
      default:
        return this.#string(schema);
    }
  }

  /** The value with one thing about it that is likely to be wrong. */
  broken(schema: Schema, value: unknown): unknown {
    const { random } = this;
    if (schema.type !== 'object' || typeof value !== 'object' || value === null) return this.#wrong(schema);
    const fields = value as Record<string, unknown>;
    const properties = schema.properties ?? {};
    switch (random.int(0, 5)) {
      case 0:
        return { ...fields, [random.pick(['unknown', 'Type', 'constructor', 'ünknown', ''])]: 1 };
      case 1: {
        const dropped = random.pick(['', ...(schema.required ?? [])]);
        return Object.fromEntries(Object.entries(fields).filter(([name]) => name !== dropped));
      }
      case 2:
        return random.pick<unknown>([[], null, 1, 'text', [fields], true]);
      default: {
        const names = Object.keys(properties);
        if (names.length === 0) return [];
        const name = random.pick(names);
        return { ...fields, [name]: this.#wrong(properties[name] ?? {}) };
      }
    }
  }

  /** Sometimes right by accident. */
  #wrong(schema: Schema): unknown {
    const { random } = this;
    const wrong: unknown[] = [null, {}, [], '', -1, 0, 1.5, 1e308, true, ...AWKWARD];
    if (schema.maxLength !== undefined)
      wrong.push('x'.repeat(schema.maxLength + 1), 'ü'.repeat(schema.maxLength));
    if (schema.minimum !== undefined) wrong.push(schema.minimum - 1, String(schema.minimum));
    if (schema.maximum !== undefined && schema.maximum < Number.MAX_SAFE_INTEGER)
      wrong.push(schema.maximum + 1);
    return random.pick(wrong);
  }

  #object(schema: Schema): Record<string, unknown> {
    const { random } = this;
    const result: Record<string, unknown> = {};
    for (const [name, property] of Object.entries(schema.properties ?? {})) {
      if (schema.required?.includes(name) || random.chance(0.35)) result[name] = this.valid(property, name);
    }
    if (typeof schema.additionalProperties === 'object') {
      for (let left = random.int(0, 3); left > 0; left -= 1) {
        result[this.#string(schema.propertyNames ?? {})] = this.valid(schema.additionalProperties);
      }
    }
    return result;
  }

  #string({ pattern, format, minLength = 0, maxLength }: Schema): string {
    const { random } = this;
    if (format === 'date-time')
      return new Date(Date.UTC(random.int(2100, 2200), random.int(0, 11), 2)).toISOString();
    const most = maxLength ?? USUAL_LENGTH;
    if (pattern !== undefined) {
      if (!/^\\S$/.test(pattern)) return this.#match(pattern).slice(0, most);
      return 'x'.repeat(this.#length(1, most));
    }
    if (random.chance(0.3)) {
      const text = random.pick(AWKWARD.filter((each) => each.isWellFormed() && !each.includes('\0')));
      if (text.length >= minLength && text.length <= most) return text;
    }
    return 'x'.repeat(this.#length(minLength, most));
  }

  #length(min: number, max: number): number {
    if (this.random.chance(0.01)) return max;
    return this.random.int(min, Math.max(min, Math.min(max, USUAL_LENGTH)));
  }

  #match(pattern: string): string {
    let pool = this.#matching.get(pattern);
    if (!pool) {
      pool = fc.sample(fc.stringMatching(new RegExp(pattern), { size: 'small' }), {
        seed: this.#seed,
        numRuns: 50,
      });
      this.#matching.set(pattern, pool);
    }
    return this.random.pick(pool);
  }
}
