import {
  CancelTaskRequestSchema,
  ErrorCode,
  GetTaskPayloadRequestSchema,
  GetTaskRequestSchema,
  ListTasksRequestSchema,
  McpError,
  RELATED_TASK_META_KEY,
} from '@modelcontextprotocol/sdk/types.js';
import { type Extra, RequestContext } from '../call-context.ts';
import type { TaskKeeper } from '../definition.ts';
import type { Capability, McpConnectionState } from './capability.ts';

/** Tools that were called as tasks: their state, their results, their end. */
export const tasksCapability = (tasks: TaskKeeper): Capability => ({
  declares: { tasks: { list: {}, cancel: {}, requests: { tools: { call: {} } } } },
  serve: (connection) => serveTasks(tasks, connection),
});

function serveTasks(tasks: TaskKeeper, connection: McpConnectionState): void {
  const { server } = connection;
  const unknown = (id: string): McpError => new McpError(ErrorCode.InvalidParams, `There is no task ${id}.`);
  server.setRequestHandler(GetTaskRequestSchema, async ({ params: { taskId } }) => {
    const task = await tasks.get(taskId);
    if (!task) throw unknown(taskId);
    return task;
  });
  server.setRequestHandler(GetTaskPayloadRequestSchema, async ({ params: { taskId } }, extra: Extra) => {
    const result = await tasks.result(taskId, new RequestContext(extra, connection));
    if (!result) throw unknown(taskId);
    return { ...result, _meta: { ...result._meta, [RELATED_TASK_META_KEY]: { taskId } } };
  });
  server.setRequestHandler(ListTasksRequestSchema, async ({ params }) => tasks.list(params?.cursor));
  server.setRequestHandler(CancelTaskRequestSchema, async ({ params: { taskId } }) => {
    const outcome = await tasks.cancel(taskId);
    if (!outcome) throw unknown(taskId);
    if (!outcome.hadEnded) return outcome.task;
    throw new McpError(
      ErrorCode.InvalidParams,
      `The task ${taskId} has ended already: ${outcome.task.status}.`,
    );
  });
}
