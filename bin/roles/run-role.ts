/** Runs one process role until a signal, its parent's end or its own breakdown; answers with the exit code. */
import type { EventEmitter } from 'node:events';
import { constants } from 'node:os';
import { forTerminal } from '../../src/observability/unsafe-text.ts';
import { ConfigError, explainConfig, type Flags } from '../../src/config.ts';
import { messageOf } from '../../src/errors.ts';
import { createLogger } from '../../src/observability/logger.ts';
import type { ReadyMessage } from '../supervised-child.ts';
import { RoleExit, type StartRole } from './role.ts';

export async function runRole(
  name: string,
  flags: Flags,
  load: () => Promise<StartRole>,
  interrupts: EventEmitter<{ interrupt: [] }>,
): Promise<number> {
  // Its terminal may be gone (SIGHUP), or its disk full: it goes on without.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined);
  let kill: () => void = () => undefined;
  let nth = 0;
  const asked = new Promise<null>((resolve) => {
    interrupts.on('interrupt', () => {
      nth += 1;
      if (nth === 1) return resolve(null);
      kill();
      process.exit(128 + constants.signals.SIGINT);
    });
    // `up` has died, however: nobody would stop this process any more.
    if (process.send) process.once('disconnect', () => resolve(null));
    if (process.send && !process.connected) resolve(null);
  });

  try {
    const { config, origins } = explainConfig(flags);
    const logger = createLogger({ level: config.logLevel, role: name, pretty: process.stdout.isTTY });
    const start = await load();
    const role = await start(config, logger, origins);
    kill = () => role.kill?.();
    const message: ReadyMessage = { ready: true, ...(role.url === undefined ? {} : { url: role.url }) };
    if (process.connected) process.send?.(message);
    logger.info(role.url === undefined ? {} : { url: role.url }, 'ready');

    const broken = await Promise.race([asked, role.broken]);
    if (broken) logger.fatal({ err: broken.error }, messageOf(broken.error));
    else logger.info({}, 'stopping');
    await role.stop();
    return broken?.exit ?? RoleExit.fine;
  } catch (error) {
    if (error instanceof ConfigError) {
      say(`flashpods: ${error.message}\n`);
      return RoleExit.misconfigured;
    }
    say(`flashpods ${name}: ${explain(error)}\n`);
    return RoleExit.failed;
  }
}

/** An error may hold what a server or a file says. */
const say = (text: string): void =>
  void process.stderr.write(process.stderr.isTTY ? forTerminal(text) : text);

/** What went wrong, with the causes; the stack only of what nobody foresaw. */
function explain(error: unknown): string {
  if (!(error instanceof Error)) return messageOf(error);
  const causes: string[] = [];
  for (let cause = error.cause; cause instanceof Error; cause = cause.cause)
    causes.push(`  because: ${cause.message}`);
  const nested = error instanceof AggregateError ? error.errors.map((inner) => `  ${messageOf(inner)}`) : [];
  const unforeseen =
    error instanceof TypeError || error instanceof RangeError || error instanceof ReferenceError;
  return [unforeseen ? (error.stack ?? error.message) : error.message, ...nested, ...causes].join('\n');
}
