/**
 * What an MCP server offers, as values: tools, tasks, resources and templates. The plumbing (`server.ts`,
 * `capabilities/`) speaks the protocol for any of them and knows nothing of jobs.
 */
import type { CallToolResult, Resource, Task, ToolAnnotations } from '@modelcontextprotocol/sdk/types.js';
import type { z } from 'zod';

export type { CallToolResult, Resource, Task, ToolAnnotations };

export type ResourceContents =
  | { readonly uri: string; readonly mimeType: string; readonly text: string }
  | { readonly uri: string; readonly mimeType: string; readonly blob: string };

/** One request under way, as a tool sees it. */
export interface CallContext {
  /** Aborted when nobody waits for the answer any longer: it was cancelled, or the connection is gone. */
  readonly signal: AbortSignal;
  /**
   * After `signal`: whether the client said that its person took the request back. False when the connection is gone,
   * and when the client only lost patience or gave no reason: neither says that the work is unwanted.
   */
  readonly withdrawn: boolean;
  /** URIs of the directories that the client's person opened; null when the client does not tell. */
  roots(): Promise<readonly string[] | null>;
  /** Whether the client asked for progress. */
  readonly wantsProgress: boolean;
  /** Nothing happens unless the client asked for it. `done` has to grow from call to call. */
  progress(done: number, message?: string, total?: number): Promise<void>;
}

export interface Tool {
  readonly name: string;
  readonly title?: string;
  readonly description: string;
  readonly input: z.ZodObject;
  /** Arguments that it has over another connection or on another server, and why it has them not here. */
  readonly notHere?: Readonly<Record<string, string>>;
  /** With it the tool answers with `structuredContent` that fits. */
  readonly output?: z.ZodObject;
  readonly annotations?: ToolAnnotations;
  /** `args` fit `input`, as far as what was sent could be understood. Anything thrown becomes a tool error. */
  call(args: Readonly<Record<string, unknown>>, context: CallContext): Promise<CallToolResult>;
  /** The same as a task: begins the work and answers at once. */
  start?(args: Readonly<Record<string, unknown>>, context: CallContext): Promise<Task>;
}

/** Binds a call to the types of its own schema. */
export function tool<Input extends z.ZodObject>(
  definition: Omit<Tool, 'input' | 'call' | 'start'> & {
    readonly input: Input;
    call(args: z.output<Input>, context: CallContext): Promise<CallToolResult>;
    start?(args: z.output<Input>, context: CallContext): Promise<Task>;
  },
): Tool {
  return definition;
}

/** What tools that were started as tasks are doing. Ids that are unknown give null. */
export interface TaskKeeper {
  get(id: string): Promise<Task | null>;
  /** Waits for the end. @throws the signal's reason */
  result(id: string, context: CallContext): Promise<CallToolResult | null>;
  /** @returns null for one that is unknown; the task as it is when it had ended before */
  cancel(id: string): Promise<{ readonly task: Task; readonly hadEnded: boolean } | null>;
  list(cursor: string | undefined): Promise<{ readonly tasks: Task[]; readonly nextCursor?: string }>;
}

export interface ResourceTemplate {
  /** RFC 6570, as far as the SDK reads it. */
  readonly uriTemplate: string;
  readonly name: string;
  readonly title?: string;
  readonly description: string;
  readonly mimeType?: string;
  read(
    uri: string,
    variables: Readonly<Record<string, string>>,
    signal: AbortSignal,
  ): Promise<ResourceContents>;
  /** Values of a variable that begin so. */
  readonly complete?: Readonly<Record<string, Complete>>;
}

export type Complete = (
  value: string,
  others: Readonly<Record<string, string>>,
) => Promise<readonly string[]> | readonly string[];

export interface Resources {
  list(signal: AbortSignal): Promise<readonly Resource[]>;
  /** @returns null when it is none of those that are listed: a template may know it */
  read(uri: string, signal: AbortSignal): Promise<ResourceContents | null>;
  readonly templates: readonly ResourceTemplate[];
}
