import { describedRequestSchema, parseCreateJob } from '../../../src/jobs/request.ts';
import { abandonedOf, principalOf, viewOf } from '../../context.ts';
import { json, operation, type Operation } from '../../operation.ts';
import type { ApiResources } from '../../resources.ts';
import { presentCheck, presentCreated, presentJob, presentJobList } from './present.ts';
import {
  cancelJobsQuery,
  cancelledJobSchema,
  cancelledJobsSchema,
  checkedJobSchema,
  createdJobSchema,
  getJobQuery,
  jobIdParams,
  jobListSchema,
  jobSchema,
  listFilter,
  listJobsQuery,
} from './schema.ts';

type Resources = Pick<ApiResources, 'jobs'>;

const REQUEST_ERRORS = [
  'invalid_request',
  'invalid_job_type',
  'missing_command',
  'missing_task',
  'missing_git_branch',
  'invalid_client_job_id',
  'invalid_image',
  'invalid_cpus',
  'invalid_memory',
  'invalid_timeout',
  'invalid_packages',
  'payload_too_large',
  'unsupported_media_type',
] as const;
const ROOM_ERRORS = [
  'unsatisfiable_resources',
  'quota_exceeded',
  'insufficient_resources',
  'service_unavailable',
] as const;

const CREATE_EXAMPLES = {
  worker: {
    summary: 'A worker job: one shell command on the files of an upload.',
    value: {
      type: 'worker',
      command: 'make test && cp report.xml /artifacts/',
      files_id: 'upload_a1b2c3d4e5f6',
      cpus: 4,
      memory_gb: 8,
      timeout_minutes: 20,
      client_job_id: '0c7bd4a5-33ad-4b3c-9d2e-5d7f1c1b7a10',
    },
  },
  agent: {
    summary: 'An agent job: what to do, and the branch to do it on, in an upload that holds its `.git`.',
    value: {
      type: 'agent',
      task: 'Make the tests in test/parser pass and leave the others alone.',
      context: 'They fail since the grammar was split into two files.',
      git_branch: 'fix/parser-tests',
      files_id: 'upload_a1b2c3d4e5f6',
      image: 'localhost/team/agent:1',
      timeout_minutes: 60,
    },
  },
} as const;

export const jobOperations = ({ jobs }: Resources): readonly Operation[] => [
  operation({
    id: 'createJob',
    tag: 'jobs',
    method: 'post',
    path: '/jobs',
    summary: 'Create a job',
    description:
      'A `client_job_id` makes creation idempotent: the same request again is answered with the same job, and 200.',
    scope: 'jobs:write',
    body: {
      required: true,
      json: describedRequestSchema(jobs.limits),
      parse: parseCreateJob,
      examples: CREATE_EXAMPLES,
    },
    answers: {
      201: json('The job is created.', createdJobSchema),
      200: json('The job existed already.', createdJobSchema),
    },
    errors: [
      ...REQUEST_ERRORS,
      'upload_not_found',
      'upload_not_finalized',
      'upload_already_consumed',
      'upload_expired',
      'idempotency_key_reused',
      'image_not_found',
      ...ROOM_ERRORS,
    ],
    async handle(ctx, { body }) {
      const outcome = await jobs.create(principalOf(ctx).owner, body);
      ctx.status = outcome.created ? 201 : 200;
      ctx.set('Location', `/jobs/${outcome.job.id}`);
      ctx.body = presentCreated(outcome, await jobs.wait(outcome.job));
    },
  }),
  operation({
    id: 'checkJob',
    tag: 'jobs',
    method: 'post',
    path: '/job-checks',
    summary: 'Check a request before files are sent',
    description:
      'The body of `POST /jobs`, without `files_id`. Nothing is created: the answer is the request as it would be in ' +
      'force now, or the error that `POST /jobs` would answer.',
    scope: 'jobs:write',
    body: { required: true, json: describedRequestSchema(jobs.limits), parse: parseCreateJob },
    answers: { 200: json('The job would be taken.', checkedJobSchema) },
    errors: [...REQUEST_ERRORS, 'image_not_found', ...ROOM_ERRORS],
    async handle(ctx, { body }) {
      ctx.body = presentCheck(await jobs.check(principalOf(ctx).owner, body));
    },
  }),
  operation({
    id: 'listJobs',
    tag: 'jobs',
    method: 'get',
    path: '/jobs',
    summary: 'List jobs, newest first',
    scope: 'jobs:read',
    query: listJobsQuery,
    answers: { 200: json('A page of jobs.', jobListSchema) },
    errors: ['invalid_request'],
    async handle(ctx, { query }) {
      ctx.body = presentJobList(await jobs.list(listFilter(query, viewOf(ctx))));
    },
  }),
  operation({
    id: 'cancelJobs',
    tag: 'jobs',
    method: 'delete',
    path: '/jobs',
    summary: 'Cancel every active job with a label',
    scope: 'jobs:write',
    query: cancelJobsQuery,
    answers: { 200: json('What is being cancelled.', cancelledJobsSchema) },
    errors: ['invalid_request'],
    async handle(ctx, { query: { label } }) {
      ctx.body = { cancelled: await jobs.cancelLabelled(label, viewOf(ctx)) };
    },
  }),
  operation({
    id: 'getJob',
    tag: 'jobs',
    method: 'get',
    path: '/jobs/{id}',
    summary: 'One job',
    description: 'With `wait` the answer comes when the state changes, or when the time is over.',
    scope: 'jobs:read',
    params: jobIdParams,
    query: getJobQuery,
    answers: { 200: json('The job.', jobSchema) },
    errors: ['invalid_request', 'job_not_found', 'too_many_open'],
    async handle(ctx, { params: { id }, query: { wait } }) {
      const owner = viewOf(ctx);
      const job =
        wait === undefined || ctx.method === 'HEAD'
          ? await jobs.get(id, owner)
          : await jobs.waitForChange(id, owner, wait * 1_000, abandonedOf(ctx, 'waiting_requests'));
      ctx.body = presentJob(job, await jobs.wait(job));
    },
  }),
  operation({
    id: 'cancelJob',
    tag: 'jobs',
    method: 'delete',
    path: '/jobs/{id}',
    summary: 'Cancel a job',
    description: 'Answered at once; the job’s state changes when it has ended.',
    scope: 'jobs:write',
    params: jobIdParams,
    answers: { 200: json('The job is being ended.', cancelledJobSchema) },
    errors: ['job_not_found', 'job_already_terminal'],
    async handle(ctx, { params: { id } }) {
      const job = await jobs.cancel(id, viewOf(ctx));
      ctx.body = { job_id: job.id, status: 'cancelled', message: 'Job termination initiated' };
    },
  }),
  operation({
    id: 'rerunJob',
    tag: 'jobs',
    method: 'post',
    path: '/jobs/{id}/rerun',
    summary: 'Create a job like this one',
    description:
      'The same values in force and the same owner, without the `client_job_id`. Files that were sent for the one job ' +
      'only are gone with it; a `reusable` upload serves again.',
    scope: 'jobs:write',
    params: jobIdParams,
    answers: { 201: json('The job is created.', createdJobSchema) },
    errors: [
      'job_not_found',
      'upload_already_consumed',
      'unsatisfiable_resources',
      'quota_exceeded',
      'insufficient_resources',
      'service_unavailable',
    ],
    async handle(ctx, { params: { id } }) {
      const job = await jobs.rerun(id, viewOf(ctx));
      ctx.status = 201;
      ctx.set('Location', `/jobs/${job.id}`);
      ctx.body = presentCreated({ job, created: true }, await jobs.wait(job));
    },
  }),
];
