import { createJobSchema } from '../../../src/jobs/request.ts';
import type { Job } from '../../../src/jobs/job.ts';
import { ACTIVE_STATES, type JobState } from '../../../src/jobs/states.ts';
import { FlashpodsError } from '../../../src/errors.ts';
import { principalOf, viewOf } from '../../context.ts';
import { checkQuery, readJson } from '../../middleware/body.ts';
import type { Operation } from '../../operation.ts';
import type { ApiResources } from '../../resources.ts';
import { presentCreated, presentJob, presentJobSummary } from './present.ts';
import {
  cancelJobsQuery,
  cancelledJobSchema,
  cancelledJobsSchema,
  createdJobSchema,
  cursorAfter,
  getJobQuery,
  jobIdParams,
  jobListSchema,
  jobSchema,
  listJobsQuery,
} from './schema.ts';

type Resources = Pick<ApiResources, 'jobs'>;

/** A page of `DELETE /jobs?label=`: bounded memory, and a cancellation that is under way is not repeated. */
const CANCEL_PAGE = 100;

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
  {
    id: 'createJob',
    tag: 'jobs',
    method: 'post',
    path: '/jobs',
    summary: 'Create a job',
    description:
      'A `client_job_id` makes creation idempotent: the same request again is answered with the same job, and 200.',
    scope: 'jobs:write',
    body: { required: true, content: { 'application/json': createJobSchema }, examples: CREATE_EXAMPLES },
    answers: {
      201: { description: 'The job is created.', content: { 'application/json': createdJobSchema } },
      200: { description: 'The job existed already.', content: { 'application/json': createdJobSchema } },
    },
    errors: [
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
      'payload_too_large',
      'unsupported_media_type',
      'upload_not_found',
      'upload_not_finalized',
      'upload_already_consumed',
      'upload_expired',
      'idempotency_key_reused',
      'unsatisfiable_resources',
      'quota_exceeded',
      'insufficient_resources',
      'service_unavailable',
    ],
    async handle(ctx) {
      const outcome = await jobs.create(principalOf(ctx).owner, await readJson(ctx));
      ctx.status = outcome.created ? 201 : 200;
      ctx.set('Location', `/jobs/${outcome.job.id}`);
      ctx.body = presentCreated(outcome, await jobs.wait(outcome.job));
    },
  },
  {
    id: 'listJobs',
    tag: 'jobs',
    method: 'get',
    path: '/jobs',
    summary: 'List jobs, newest first',
    scope: 'jobs:read',
    query: listJobsQuery,
    answers: { 200: { description: 'A page of jobs.', content: { 'application/json': jobListSchema } } },
    errors: ['invalid_request'],
    async handle(ctx) {
      const query = checkQuery(listJobsQuery, ctx);
      // One more than asked for tells whether there is another page.
      const { jobs: found, total } = await jobs.list({
        owner: viewOf(ctx),
        states: statesOf(query.status),
        type: query.type ?? null,
        label: query.label ?? null,
        limit: query.limit + 1,
        beforePosition: query.cursor ?? null,
      });
      const page = found.slice(0, query.limit);
      const last = page.at(-1);
      const waits = await jobs.waits(page);
      ctx.body = {
        jobs: page.map((job, index) => presentJobSummary(job, waits[index] ?? null)),
        total,
        next_cursor: found.length > page.length && last ? cursorAfter(last.position) : null,
      };
    },
  },
  {
    id: 'cancelJobs',
    tag: 'jobs',
    method: 'delete',
    path: '/jobs',
    summary: 'Cancel every active job with a label',
    scope: 'jobs:write',
    query: cancelJobsQuery,
    answers: {
      200: { description: 'What is being cancelled.', content: { 'application/json': cancelledJobsSchema } },
    },
    errors: ['invalid_request'],
    async handle(ctx) {
      const { label } = checkQuery(cancelJobsQuery, ctx);
      const owner = viewOf(ctx);
      const cancelled: string[] = [];
      let beforePosition: number | null = null;
      for (;;) {
        const page: Job[] = (
          await jobs.list({
            owner,
            states: ACTIVE_STATES,
            type: null,
            label,
            limit: CANCEL_PAGE,
            beforePosition,
          })
        ).jobs;
        for (const job of page) if (await cancelIfActive(jobs, job.id, owner)) cancelled.push(job.id);
        const last = page.at(-1);
        if (!last || page.length < CANCEL_PAGE) break;
        beforePosition = last.position;
      }
      ctx.body = { cancelled };
    },
  },
  {
    id: 'getJob',
    tag: 'jobs',
    method: 'get',
    path: '/jobs/{id}',
    summary: 'One job',
    description: 'With `wait` the answer comes when the state changes, or when the time is over.',
    scope: 'jobs:read',
    params: jobIdParams,
    query: getJobQuery,
    answers: { 200: { description: 'The job.', content: { 'application/json': jobSchema } } },
    errors: ['invalid_request', 'job_not_found'],
    async handle(ctx) {
      const { wait } = checkQuery(getJobQuery, ctx);
      const id = ctx.params['id'] ?? '';
      const owner = viewOf(ctx);
      const job =
        wait === undefined || ctx.method === 'HEAD'
          ? await jobs.get(id, owner)
          : await jobs.waitForChange(id, owner, wait * 1_000, ctx.state.abandoned);
      ctx.body = presentJob(job, await jobs.wait(job));
    },
  },
  {
    id: 'cancelJob',
    tag: 'jobs',
    method: 'delete',
    path: '/jobs/{id}',
    summary: 'Cancel a job',
    description: 'Answered at once; the job’s own state changes when it is true.',
    scope: 'jobs:write',
    params: jobIdParams,
    answers: {
      200: { description: 'The job is being ended.', content: { 'application/json': cancelledJobSchema } },
    },
    errors: ['job_not_found', 'job_already_terminal'],
    async handle(ctx) {
      const job = await jobs.cancel(ctx.params['id'] ?? '', viewOf(ctx));
      ctx.body = { job_id: job.id, status: 'cancelled', message: 'Job termination initiated' };
    },
  },
  {
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
    answers: {
      201: { description: 'The job is created.', content: { 'application/json': createdJobSchema } },
    },
    errors: [
      'job_not_found',
      'upload_already_consumed',
      'unsatisfiable_resources',
      'quota_exceeded',
      'insufficient_resources',
      'service_unavailable',
    ],
    async handle(ctx) {
      const job = await jobs.rerun(ctx.params['id'] ?? '', viewOf(ctx));
      ctx.status = 201;
      ctx.set('Location', `/jobs/${job.id}`);
      ctx.body = presentCreated({ job, created: true }, await jobs.wait(job));
    },
  },
];

const statesOf = (status: 'all' | 'active' | JobState): readonly JobState[] | null =>
  status === 'all' ? null : status === 'active' ? ACTIVE_STATES : [status];

/** @returns false when it ended by itself in between */
async function cancelIfActive(
  jobs: ApiResources['jobs'],
  id: string,
  owner: string | null,
): Promise<boolean> {
  try {
    await jobs.cancel(id, owner);
    return true;
  } catch (error) {
    if (error instanceof FlashpodsError && error.code === 'job_already_terminal') return false;
    throw error;
  }
}
