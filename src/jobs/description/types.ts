/** The shapes that follow from the table of fields: what is asked for, what is in force, what is answered. */
import type { z } from 'zod';
import type { FieldName, FIELDS, JobType } from './fields.ts';
import type { Camel } from './names.ts';

type Table = typeof FIELDS;

type Given<Name extends FieldName> =
  z.output<ReturnType<Table[Name]['schema']>> extends infer Value
    ? Value extends object
      ? Readonly<Value>
      : Value
    : never;

/** The fields that say what is asked for: all but the type, which has a shape for itself, and the caller's key. */
export type SpecField = Exclude<FieldName, 'type' | 'client_job_id'>;

type FieldFor<Type extends JobType, Name extends FieldName = FieldName> = {
  [Key in Name]: Table[Key] extends { readonly of: readonly (infer Types)[] }
    ? Type extends Types
      ? Key
      : never
    : Key;
}[Name];

type InForce<Name extends FieldName> = Table[Name] extends { readonly default: null }
  ? Given<Name> | null
  : Given<Name>;

type Required<Name extends FieldName> = {
  [Key in Name]: Table[Key] extends { readonly required: true } ? Key : never;
}[Name];

/** A request as a caller writes it. */
export type RequestOf<Type extends JobType> = { readonly type: Type } & {
  readonly [Name in Exclude<Required<FieldFor<Type>>, 'type'>]: Given<Name>;
} & { readonly [Name in Exclude<FieldFor<Type>, Required<FieldFor<Type>>>]?: Given<Name> };

export type WorkerRequest = RequestOf<'worker'>;
export type AgentRequest = RequestOf<'agent'>;
export type JobRequest = WorkerRequest | AgentRequest;

/** What is in force; a field that the type does not have is null. */
type SpecOf<Type extends JobType> = { readonly type: Type } & {
  readonly [Name in SpecField as Camel<Name>]: Name extends FieldFor<Type> ? InForce<Name> : null;
};

/** What a caller asked for, after defaults and clamping: the part of a job that never changes. */
export type JobSpec = SpecOf<'worker'> | SpecOf<'agent'>;

type Hidden = {
  [Name in FieldName]: Table[Name] extends { readonly answer: 'never' } ? Name : never;
}[FieldName];
type Alone = {
  [Name in FieldName]: Table[Name] extends { readonly answer: 'alone' } ? Name : never;
}[FieldName];
type Everywhere = Exclude<FieldFor<'worker'> & FieldFor<'agent'>, Hidden | Alone>;

/** What an answer shows of a job's fields: those that both types have, and of the others what its type has. */
export type FieldsAnswer = { readonly [Name in Everywhere]: InForce<Name> } & {
  readonly [Name in Exclude<FieldName, Everywhere | Hidden>]?: InForce<Name>;
};
