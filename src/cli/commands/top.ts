import type { CapacityAnswer } from '../../client/answers.ts';
import { NO_RETRY } from '../../client/connection.ts';
import { Bell } from '../../timing/bell.ts';
import { FlashpodsClient } from '../../client/client.ts';
import { ClientError } from '../../client/client-error.ts';
import type { CliContext } from '../context.ts';
import { ExitCode } from '../exit-code.ts';
import { ordered, screen, snapshot, type TopView } from '../top/frame.ts';
import { FullScreen } from '../top/screen.ts';
import { sanitize } from '../terminal.ts';

export interface TopOptions {
  /** Seconds between two looks. */
  readonly interval?: number;
}

const INTERVAL_S = 2;
const SHORTEST_INTERVAL_S = 0.2;
/** As many of each kind as the API gives in one answer; a screen shows fewer. */
const JOBS = 100;

/** A live screen of the server on a terminal, until q or Ctrl-C; one look at it in a pipe or as JSON. */
export async function top(options: TopOptions, context: CliContext): Promise<number> {
  const client = await context.client();
  if (context.json || !context.out.isTTY) return showOnce(client, context);
  return new Top(
    client,
    context,
    Math.max(SHORTEST_INTERVAL_S, options.interval ?? INTERVAL_S) * 1_000,
  ).run();
}

async function showOnce(client: FlashpodsClient, context: CliContext): Promise<number> {
  const signal = context.untilInterrupted();
  const seen = await look(client, signal);
  const nowMs = Date.now();
  const view = { ...EMPTY, server: serverOf(client), ...seen, seenAt: nowMs, nowMs };
  return context.show(seen, () => snapshot(view, (_colour, text) => text).join('\n'));
}

/** Hosts, queue, and the jobs whose turn comes first, with the number of all that hosts have. */
async function look(
  client: FlashpodsClient,
  signal: AbortSignal,
): Promise<Pick<TopView, 'jobs' | 'running'> & { readonly capacity: CapacityAnswer }> {
  const inTurn = (status: string) => client.listJobs({ status, order: 'turn', limit: JOBS }, signal);
  const [capacity, hosted, waiting] = await Promise.all([
    client.capacity(signal),
    inTurn('hosted'),
    inTurn('waiting'),
  ]);
  return { capacity, jobs: [...hosted.jobs, ...waiting.jobs], running: hosted.total };
}

const serverOf = (client: FlashpodsClient): string => client.connection.url.href.replace(/\/$/, '');

const EMPTY = {
  capacity: null,
  jobs: [],
  running: 0,
  problem: null,
  seenAt: null,
  selected: null,
  prompt: null,
} as const satisfies Partial<TopView>;

class Top {
  readonly #client: FlashpodsClient;
  readonly #context: CliContext;
  readonly #intervalMs: number;
  readonly #screen: FullScreen;
  readonly #leaving = new AbortController();
  readonly #bell = new Bell(this.#leaving.signal);
  #view: TopView;
  /** The job whose cancellation waits for a yes. */
  #doomed: string | null = null;

  constructor(client: FlashpodsClient, context: CliContext, intervalMs: number) {
    // One that waits and complains by itself would write into the screen; here the next look is the next try.
    this.#client = new FlashpodsClient({ ...client.connection, retry: NO_RETRY });
    this.#context = context;
    this.#intervalMs = intervalMs;
    this.#view = { ...EMPTY, server: serverOf(client), nowMs: Date.now() };
    this.#screen = new FullScreen(context.terminal, {
      onKey: (key) => this.#pressed(key),
      onResize: () => this.#draw(),
    });
  }

  /** @throws ClientError when the server refuses to be asked (a wrong token, say) */
  async run(): Promise<number> {
    const { signal } = this.#leaving;
    let exitCode: number = ExitCode.fine;
    const stop = this.#context.onInterrupt((_nth, codeOfSignal) => {
      exitCode = codeOfSignal;
      this.#leave();
    });
    this.#screen.enter();
    try {
      this.#draw();
      while (!signal.aborted && !this.#context.out.closed) {
        await this.#look();
        this.#draw();
        await this.#bell.wait(this.#intervalMs);
      }
      return exitCode;
    } finally {
      this.#screen.leave();
      this.#client.close();
      stop();
    }
  }

  async #look(): Promise<void> {
    const { signal } = this.#leaving;
    try {
      const seen = await look(this.#client, signal);
      this.#view = { ...this.#view, ...seen, problem: null, seenAt: Date.now() };
    } catch (error) {
      if (signal.aborted) return;
      const isPassing =
        error instanceof ClientError &&
        (error.code === 'not_reachable' || error.status === 429 || (error.status ?? 0) >= 500);
      if (!isPassing) throw error;
      this.#view = { ...this.#view, problem: sanitize(error.message) };
    }
  }

  #draw(): void {
    const view = { ...this.#view, nowMs: Date.now() };
    const paint = this.#context.out.colour.bind(this.#context.out);
    this.#screen.draw(screen(view, paint, this.#screen.size));
  }

  #leave(): void {
    this.#leaving.abort(new ClientError('interrupted', 'Interrupted.'));
  }

  #pressed(key: string): void {
    if (key === 'ctrl-c') return this.#leave();
    if (this.#doomed !== null) this.#decide(key === 'y' || key === 'Y');
    else if (key === 'q') return this.#leave();
    else if (key === 'up' || key === 'page-up') this.#select(key === 'up' ? -1 : -10);
    else if (key === 'down' || key === 'page-down') this.#select(key === 'down' ? 1 : 10);
    else if (key === 'k' && this.#view.selected !== null) {
      this.#doomed = this.#view.selected;
      this.#view = { ...this.#view, prompt: `cancel ${sanitize(this.#doomed)}? y / n` };
    }
    this.#draw();
  }

  #select(step: number): void {
    const { running, waiting } = ordered(this.#view.jobs);
    const ids = [...running, ...waiting].map(({ id }) => id);
    const at = this.#view.selected === null ? -1 : ids.indexOf(this.#view.selected);
    const next =
      at === -1 ? (step > 0 ? 0 : ids.length - 1) : Math.min(Math.max(at + step, 0), ids.length - 1);
    this.#view = { ...this.#view, selected: ids[next] ?? null, prompt: null };
  }

  #decide(isSure: boolean): void {
    const id = this.#doomed ?? '';
    this.#doomed = null;
    this.#view = { ...this.#view, prompt: isSure ? `cancelling ${sanitize(id)}` : null };
    if (!isSure) return;
    this.#client.cancelJob(id, this.#leaving.signal).then(this.#bell.ring, (error: unknown) => {
      if (!(error instanceof ClientError)) throw error;
      this.#view = { ...this.#view, prompt: `${error.code}: ${sanitize(error.message)}` };
      this.#draw();
    });
  }
}
