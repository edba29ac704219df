/**
 * Jobs as tasks (2025-11-25, experimental in the SDK): the id of a task is the id of its job, so that a task outlives
 * this process, its session and the server, and a caller who may see the job may see the task.
 */
import { isTerminal, JOB_STATES } from '../jobs/states.ts';
import type { JobAnswer } from '../client/answers.ts';
import { hasCode } from '../client/client-error.ts';
import { isJobId } from '../ids.ts';
import type { Backend } from './backend.ts';
import type { Task, TaskKeeper } from './definition.ts';
import { fullReport, reportResult } from './job-report.ts';
import { waitForEnd } from './wait.ts';

const POLL_INTERVAL_MS = 5_000;
const PAGE = 50;

/** A command that fails is a task that is completed: its result says what the command did. */
export function taskOf(job: JobAnswer): Task {
  const cancelled = job.status === 'cancelled' || (!isTerminal(job.status) && job.cancel_requested === true);
  const status = cancelled ? 'cancelled' : isTerminal(job.status) ? 'completed' : 'working';
  const exit = job.exit_code ?? null;
  return {
    taskId: job.id,
    status,
    statusMessage: [job.status, exit === null ? null : `exit ${exit}`, job.waiting_reason]
      .filter((part) => part !== null && part !== undefined)
      .join(' · '),
    createdAt: job.created_at,
    lastUpdatedAt: job.completed_at ?? job.started_at ?? job.queued_at ?? job.created_at,
    // The row stays for ever; logs and artifacts go after their retention.
    ttl: null,
    pollInterval: POLL_INTERVAL_MS,
  };
}

export function jobTasks(backend: Backend): TaskKeeper {
  const find = async (id: string): Promise<JobAnswer | null> => {
    if (!isJobId(id)) return null;
    try {
      return await backend.getJob(id);
    } catch (error) {
      if (hasCode(error, 'job_not_found')) return null;
      throw error;
    }
  };
  return {
    async get(id) {
      const job = await find(id);
      return job && taskOf(job);
    },
    async result(id, context) {
      if (!(await find(id))) return null;
      const { signal } = context;
      const waiting = { beganMs: performance.now(), untilMs: Number.POSITIVE_INFINITY, context, signal };
      return reportResult(await fullReport(backend, await waitForEnd(backend, id, waiting), signal));
    },
    async cancel(id) {
      const job = await find(id);
      if (!job) return null;
      if (isTerminal(job.status)) return { task: taskOf(job), hadEnded: true };
      try {
        await backend.cancelJob(id);
      } catch (error) {
        if (!hasCode(error, 'job_already_terminal')) throw error;
        return { task: taskOf((await find(id)) ?? job), hadEnded: true };
      }
      return { task: taskOf({ ...job, cancel_requested: true }), hadEnded: false };
    },
    async list(cursor) {
      const page = await backend.listJobs({ status: 'all', limit: PAGE, cursor });
      const tasks = page.jobs.filter(({ status }) => JOB_STATES.includes(status)).map(taskOf);
      return { tasks, ...(page.next_cursor === null ? {} : { nextCursor: page.next_cursor }) };
    },
  };
}
