/** Defaults and maxima of a job's numbers, as settings make them: for all types, or for one. */
import { FIELDS, type JobType, JOB_TYPES, type Range } from './fields.ts';
import { camel, type Camel } from './names.ts';

/** The fields that reserve or take something. */
export type RangedField = 'cpus' | 'memory_gb' | 'timeout_minutes';
export const RANGED_FIELDS = [
  'cpus',
  'memory_gb',
  'timeout_minutes',
] as const satisfies readonly RangedField[];

export type TypeLimits = { readonly [Name in RangedField as Camel<Name>]: Range } & {
  /** Null: a job has to name one. */
  readonly image: string | null;
};
export type JobLimits = Readonly<Record<JobType, TypeLimits>>;

const BOUNDS = ['default', 'max'] as const;
type Bound = (typeof BOUNDS)[number];
type Limit = `${Capitalize<Bound>}${Capitalize<Camel<RangedField>>}`;
/** `maxCpus` for every type of job, `agentMaxCpus` for agents. */
export type LimitSetting = Uncapitalize<Limit> | `${JobType}${Limit}`;

const capital = (word: string): string => `${word.charAt(0).toUpperCase()}${word.slice(1)}`;
const settingOf = (bound: Bound, field: RangedField, type?: JobType): LimitSetting => {
  const limit = `${bound}${capital(camel(field))}`;
  return (type === undefined ? limit : `${type}${capital(limit)}`) as LimitSetting;
};

/** Every setting of a limit, with what it says. */
export const LIMIT_SETTINGS: readonly { readonly name: LimitSetting; readonly meaning: string }[] =
  RANGED_FIELDS.flatMap((field) =>
    BOUNDS.flatMap((bound) => [
      {
        name: settingOf(bound, field),
        meaning: `${bound} \`${field}\` of a job of either type; a setting of the type goes before it`,
      },
      ...JOB_TYPES.map((type) => ({
        name: settingOf(bound, field, type),
        meaning: `${bound} \`${field}\` of a job of type \`${type}\`; ${FIELDS[field].range[type][bound]} unless set`,
      })),
    ]),
  );

export type LimitConfig = {
  readonly workerImage: string;
  readonly agentImage?: string | undefined;
} & {
  readonly [Name in LimitSetting]?: number | undefined;
};

/** A default above its maximum is lowered to it. */
export const jobLimits = (config: LimitConfig): JobLimits => ({
  worker: limitsOf('worker', config, config.workerImage),
  agent: limitsOf('agent', config, config.agentImage ?? null),
});

function limitsOf(type: JobType, config: LimitConfig, image: string | null): TypeLimits {
  const range = (field: RangedField): Range => {
    const inForce = (bound: Bound): number =>
      config[settingOf(bound, field, type)] ??
      config[settingOf(bound, field)] ??
      FIELDS[field].range[type][bound];
    const max = inForce('max');
    return { default: Math.min(inForce('default'), max), max };
  };
  return {
    cpus: range('cpus'),
    memoryGb: range('memory_gb'),
    timeoutMinutes: range('timeout_minutes'),
    image,
  };
}
