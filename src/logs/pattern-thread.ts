/**
 * Tests lines with a stranger's regular expression in a thread of its own, one page of lines after the other: a slow
 * pattern keeps others from searching for a moment, and nobody from anything else.
 */
import { Worker } from 'node:worker_threads';

export interface PatternTask {
  readonly pattern: string;
  readonly ignoreCase: boolean;
  readonly texts: readonly string[];
  /** What all of it may take; a single line is always tested. */
  readonly budgetMs: number;
}

export interface PatternResult {
  /** For each of the first lines, as far as the time went, whether it matches. */
  readonly matched: readonly boolean[];
  /** The line after those takes too long by itself. */
  readonly isSlow: boolean;
  /** What it took. */
  readonly tookMs: number;
}

/** A page of lines that takes longer is tested line by line. */
const PAGE_MS = 100;
/** A line that takes longer is not tested. */
const LINE_MS = 50;

/** It is no module of its own: a thread does not find one by the same name in a checkout and in the built package. */
const PROGRAM = `
const { parentPort } = require('node:worker_threads');
const { createContext, Script } = require('node:vm');
const TEST = new Script('texts.map((text) => regex.test(text))');
const SLOW = 'ERR_SCRIPT_EXECUTION_TIMEOUT';
function tested(context, texts, timeout) {
  try {
    context.texts = texts;
    return [...TEST.runInContext(context, { timeout })];
  } catch (error) {
    if (error.code === SLOW) return null;
    throw error;
  }
}
function search({ pattern, ignoreCase, texts, budgetMs, pageMs, lineMs }) {
  const began = performance.now();
  const context = createContext({ regex: new RegExp(pattern, ignoreCase ? 'i' : '') });
  const took = () => performance.now() - began;
  const whole = tested(context, texts, Math.max(1, Math.ceil(Math.min(pageMs, budgetMs))));
  if (whole !== null) return { matched: whole, isSlow: false, tookMs: took() };
  const matched = [];
  for (const text of texts) {
    if (matched.length > 0 && took() > budgetMs) break;
    const one = tested(context, [text], lineMs);
    if (one === null) return { matched, isSlow: true, tookMs: took() };
    matched.push(one[0]);
  }
  return { matched, isSlow: false, tookMs: took() };
}
parentPort.on('message', ({ id, task }) => parentPort.postMessage({ id, result: search(task) }));
`;

interface Waiting {
  readonly resolve: (result: PatternResult) => void;
  readonly reject: (error: unknown) => void;
}

/** Begun with the first task, and again after one that broke it; it does not keep the process alive. */
export class PatternThread {
  #worker: Worker | null = null;
  #waiting = new Map<number, Waiting>();
  #last = 0;

  /** @throws Error when the thread has died */
  async test(task: PatternTask): Promise<PatternResult> {
    const worker = (this.#worker ??= this.#begun());
    const id = (this.#last += 1);
    const { promise, ...waiting } = Promise.withResolvers<PatternResult>();
    this.#waiting.set(id, waiting);
    worker.ref();
    worker.postMessage({ id, task: { ...task, pageMs: PAGE_MS, lineMs: LINE_MS } });
    return await promise;
  }

  #begun(): Worker {
    const worker = new Worker(PROGRAM, {
      eval: true,
      env: {},
      resourceLimits: { maxOldGenerationSizeMb: 64 },
    });
    const waiting = (this.#waiting = new Map<number, Waiting>());
    worker.on('message', ({ id, result }: { id: number; result: PatternResult }) => {
      waiting.get(id)?.resolve(result);
      waiting.delete(id);
      if (waiting.size === 0) worker.unref();
    });
    const end = (cause: unknown): void => {
      if (this.#worker === worker) this.#worker = null;
      for (const { reject } of waiting.values())
        reject(new Error('the thread that searches has ended', { cause }));
      waiting.clear();
    };
    worker.on('error', end).on('exit', end);
    return worker;
  }
}
