/** The service's own log: JSON lines on stdout, readable on a terminal. */
import { type DestinationStream, type Logger as PinoLogger, pino, stdTimeFunctions } from 'pino';
import { forTerminal } from './unsafe-text.ts';

export type Logger = Pick<PinoLogger, 'debug' | 'info' | 'warn' | 'error' | 'fatal'> & {
  child(bindings: Record<string, unknown>): Logger;
};

/** Values under these keys never reach the log. */
const REDACTED = [
  'token',
  'authorization',
  'password',
  'secret',
  'secrets',
  'env',
  '*.token',
  '*.authorization',
  '*.password',
  '*.env',
  'headers.authorization',
  'headers.cookie',
];

export function createLogger(options: { level: string; role: string; pretty?: boolean }): Logger {
  return pino(
    {
      level: options.level,
      base: { role: options.role },
      timestamp: stdTimeFunctions.isoTime,
      redact: { paths: REDACTED, censor: '***' },
      formatters: { level: (label) => ({ level: label }) },
    },
    options.pretty
      ? { write: (line: string) => process.stdout.write(forTerminal(readable(line))) }
      : toStdout(),
  ); // pino's child type carries generics that callers here have no use for
}

/** Of lines that can't be written at the moment. */
const MOST_KEPT_BYTES = 1_048_576;

/** A line that can't be written (a full disk, a terminal that is gone) is lost, and ends nothing. */
function toStdout(): DestinationStream {
  const destination = pino.destination({ fd: 1, sync: true, maxLength: MOST_KEPT_BYTES });
  destination.on('error', () => undefined);
  return destination;
}

function readable(line: string): string {
  const { time, level, role, msg, err, ...rest } = JSON.parse(line) as Record<string, unknown>;
  const details = Object.entries(rest).map(
    ([key, value]) => `${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`,
  );
  const problem = err && typeof err === 'object' && 'message' in err ? [`(${String(err.message)})`] : [];
  return `${[String(time).slice(11, 23), String(level).padEnd(5), `[${String(role)}]`, msg, ...details, ...problem].join(' ')}\n`;
}
