/** Logs and artifacts as resources: `flashpods://jobs/ID/log`, `flashpods://jobs/ID/artifacts/NAME`. */
import type { JobAnswer } from '../client/answers.ts';
import { ClientError } from '../client/client-error.ts';
import { isWaiting } from '../jobs/states.ts';
import { mimeTypeOf, readArtifact } from './artifact-content.ts';
import type { Backend } from './backend.ts';
import type { Resources } from './definition.ts';
import { statusReport } from './job-report.ts';
import { excerpt, linesOf } from './log-text.ts';
import { inTime } from './patience.ts';
import { clip, printable, printableText } from './printable.ts';

const JOBS_URI = 'flashpods://jobs';
const LISTED_JOBS = 20;
/** Of a log the last lines, as many as this holds. */
const MAX_LOG_LINES = 10_000;
const MAX_LOG_BYTES = 64_000;
const MAX_ARTIFACT_BYTES = 1_000_000;

const logUri = (id: string): string => `${JOBS_URI}/${id}/log`;
export const artifactUri = (id: string, name: string): string =>
  `${JOBS_URI}/${id}/artifacts/${name.split('/').map(encodeURIComponent).join('/')}`;

export function jobResources(backend: Backend): Resources {
  const recent = async (limit: number, signal?: AbortSignal): Promise<readonly JobAnswer[]> =>
    (await backend.listJobs({ status: 'all', limit }, signal)).jobs;
  const completeJob = async (value: string): Promise<string[]> =>
    (await recent(100)).map(({ id }) => id).filter((id) => id.startsWith(value));

  return {
    async list(signal) {
      const jobs = await inTime(signal, (limited) => recent(LISTED_JOBS, limited));
      return [
        {
          uri: JOBS_URI,
          name: 'jobs',
          title: 'Recent jobs',
          description: `The last ${LISTED_JOBS} jobs with their states, as JSON.`,
          mimeType: 'application/json',
        },
        ...jobs
          .filter(({ status }) => !isWaiting(status) && status !== 'cleaned')
          .map((job) => ({
            uri: logUri(job.id),
            name: `${job.id} log`,
            title: `Log of ${job.id}`,
            description: `${job.status}: ${clip(printable(job.command ?? job.task ?? ''), 100)}`,
            mimeType: 'text/plain',
          })),
      ];
    },
    async read(uri, signal) {
      if (uri !== JOBS_URI) return null;
      const jobs = await inTime(signal, (limited) => recent(LISTED_JOBS, limited));
      const text = JSON.stringify(
        jobs.map((job) => ({
          ...statusReport(job),
          command: clip(printable(job.command ?? job.task ?? ''), 200),
        })),
      );
      return { uri, mimeType: 'application/json', text };
    },
    templates: [
      {
        uriTemplate: `${JOBS_URI}/{job_id}/log`,
        name: 'job log',
        title: 'Log of a job',
        description: `What a job printed; of a long log the last ${MAX_LOG_BYTES / 1_000} kB.`,
        mimeType: 'text/plain',
        complete: { job_id: completeJob },
        async read(uri, { job_id: id = '' }, signal) {
          const page = await inTime(signal, (limited) => backend.log(id, { tail: MAX_LOG_LINES }, limited));
          if (!page)
            throw new ClientError('logs_not_available', 'Nothing has been captured for this job yet.', {
              status: 404,
            });
          const lines = linesOf(page.lines);
          const { text, omitted } = excerpt(lines, MAX_LOG_BYTES);
          const left = (lines[0]?.seq ?? 1) - 1 + omitted;
          return {
            uri,
            mimeType: 'text/plain',
            text: left === 0 ? text : `[${left} earlier lines left out]\n${text}`,
          };
        },
      },
      {
        uriTemplate: `${JOBS_URI}/{job_id}/artifacts/{+name}`,
        name: 'job artifact',
        title: 'Artifact of a job',
        description: `A file that a job left under /artifacts, up to ${MAX_ARTIFACT_BYTES / 1_000_000} MB.`,
        complete: {
          job_id: completeJob,
          name: async (value, { job_id: id = '' }) => {
            if (id === '') return [];
            const { artifacts } = await backend.artifacts(id);
            return artifacts.map(({ name }) => name).filter((name) => name.startsWith(value));
          },
        },
        async read(uri, { job_id: id = '', name = '' }, signal) {
          return inTime(signal, async (limited) => {
            const artifact = (await backend.artifacts(id, limited)).artifacts.find(
              (each) => each.name === name,
            );
            if (!artifact) {
              throw new ClientError(
                'artifact_not_found',
                `The job ${id} left no artifact ${JSON.stringify(name)}.`,
                { status: 404 },
              );
            }
            if (artifact.size_bytes > MAX_ARTIFACT_BYTES) {
              throw new ClientError(
                'payload_too_large',
                `${name} is larger than a resource may be (${MAX_ARTIFACT_BYTES / 1_000_000} MB).`,
                { advice: 'Fetch it with the tool download_artifact and save_to, or over the HTTP API.' },
              );
            }
            const content = await readArtifact(backend, id, artifact, limited);
            if (content.kind === 'text')
              return { uri, mimeType: content.mimeType, text: printableText(content.text) };
            return { uri, mimeType: mimeTypeOf(name), blob: content.base64 };
          });
        },
      },
    ],
  };
}
