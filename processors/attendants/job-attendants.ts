/** The attendants of a job's container, all of them: a feature that lives as long as the container is added here. */
import type { SupervisionResources } from '../resources.ts';
import { type Attended, Attendants } from './attendant.ts';
import { Enforcement } from './enforcement.ts';
import { LogAttendant } from './log.ts';
import { Timeout } from './timeout.ts';

export function attendantsOf(
  resources: Pick<SupervisionResources, 'config' | 'logs' | 'lifecycle' | 'minuteMs' | 'bootId'>,
  { job, ending, detach, logger, ask }: Attended,
): { readonly log: LogAttendant; readonly timeout: Timeout; readonly all: Attendants } {
  const { config, logs, lifecycle, minuteMs, bootId } = resources;
  const log = new LogAttendant({
    capture: (spoolPath) =>
      ask('opening the log', () =>
        logs.capture({
          jobId: job.id,
          spoolPath,
          maxBytes: config.logMaxMb * 2 ** 20,
          merged: job.merge === true,
          // A process that gives the job up leaves it to the next one, whose capture finds the same.
          onTruncated: () =>
            void ask('noting that the log is cut', () => lifecycle.logTruncated(job)).catch(() => undefined),
          onTrouble: (error) => logger.warn({ err: error }, 'the log can not be written at the moment'),
        }),
      ),
    finish: (capture) => ask('finishing the log', () => capture.finish()),
  });
  const timeout = new Timeout({ job, ending, minuteMs, bootId });
  const graceMs = config.graceSeconds * 1000;
  return {
    log,
    timeout,
    all: new Attendants([log, timeout, new Enforcement({ ending, graceMs, detach, logger })]),
  };
}
