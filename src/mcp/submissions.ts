/** Jobs on their way to the server: files are read and sent, then the job is created. */
import { createHash, randomUUID } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { isAbsolute, join } from 'node:path';
import type { CreatedJob } from '../client/answers.ts';
import type { JobRequest } from '../jobs/description/types.ts';
import { ClientError } from '../client/client-error.ts';
import { gitDirectoryOf } from '../client/upload/repository.ts';
import { FlashpodsError, systemCode } from '../errors.ts';
import type { Backend, LocalFiles } from './backend.ts';

export interface FilesToSend {
  /** Absolute, and allowed. */
  readonly localPath: string;
  readonly exclude: readonly string[];
  readonly include: readonly string[];
  /** Whether `.git` goes along. */
  readonly git: boolean;
  /** A sub-agent works on the repository itself: without one nothing is sent. */
  readonly needsGit: boolean;
}

export type SubmissionPhase =
  | { readonly name: 'reading' }
  | { readonly name: 'creating' }
  | { readonly name: 'uploading'; readonly bytes: number; readonly total: number };

export interface Submission {
  readonly clientJobId: string;
  readonly phase: SubmissionPhase;
  readonly created: Promise<CreatedJob>;
  /** What should be known of the files that were sent. */
  readonly notes: readonly string[];
  /** A call has said that the job was created: one that comes later with the same id did not make it. */
  markTold(): void;
  /** Nobody wants the job any longer: stops what is under way, and ends the job if it came to be. */
  withdraw(): void;
}

/** Ids whose outcome is remembered; the oldest are forgotten first. */
const REMEMBERED = 500;

/**
 * Submissions go on when the call that began them has to be answered before they are through: a call with the same
 * `client_job_id` finds the one that is under way, or its job, instead of sending the files again.
 */
export class Submissions {
  readonly #backend: Backend;
  readonly #files: LocalFiles | null;
  readonly #known = new Map<string, RunningSubmission>();

  /** @param files null where nothing can be sent */
  constructor(backend: Backend, files: LocalFiles | null) {
    this.#backend = backend;
    this.#files = files;
  }

  /**
   * @param request without `client_job_id` and `files_id`, which are filled in
   * @throws FlashpodsError idempotency_key_reused when the id came with another request before
   */
  submit(request: JobRequest, files: FilesToSend | null, clientJobId?: string): Submission {
    const id = (clientJobId ?? randomUUID()).toLowerCase();
    const digest = createHash('sha256')
      .update(JSON.stringify([request, files]))
      .digest('base64');
    const known = this.#known.get(id);
    if (known) {
      if (known.digest !== digest) throw reused(known);
      return known.wasTold ? known.again() : known;
    }
    const submission = new RunningSubmission(this.#backend, this.#files, id, digest, request, files);
    this.#known.set(id, submission);
    // One that failed may be tried again with the same id.
    submission.created.catch(() => this.#known.delete(id));
    const [oldest] = this.#known.keys();
    if (this.#known.size > REMEMBERED && oldest !== undefined) this.#known.delete(oldest);
    return submission;
  }
}

class RunningSubmission implements Submission {
  readonly clientJobId: string;
  /** Tells one request from another. */
  readonly digest: string;
  phase: SubmissionPhase = { name: 'creating' };
  readonly notes: string[] = [];
  /** Null until it is created. */
  jobId: string | null = null;
  wasTold = false;
  readonly created: Promise<CreatedJob>;
  readonly #backend: Backend;
  readonly #files: LocalFiles | null;
  readonly #withdrawn = new AbortController();

  constructor(
    backend: Backend,
    local: LocalFiles | null,
    clientJobId: string,
    digest: string,
    request: JobRequest,
    files: FilesToSend | null,
  ) {
    this.#backend = backend;
    this.#files = local;
    this.clientJobId = clientJobId;
    this.digest = digest;
    this.created = this.#run(request, files);
  }

  markTold(): void {
    this.wasTold = true;
  }

  withdraw(): void {
    if (this.#withdrawn.signal.aborted) return;
    this.#withdrawn.abort(new ClientError('interrupted', 'The call was cancelled.'));
    const end = ({ job_id: id }: CreatedJob): Promise<void> => this.#backend.cancelJob(id);
    // It was not created, has ended meanwhile, or the server is away: nobody is left to be told.
    this.created.then(end).catch(() => undefined);
  }

  /** The same job for a call that came when it was created already. */
  again(): Submission {
    const created = this.created.then((job) => ({ ...job, created: false }));
    return { ...this.#told(), created, markTold: () => undefined, withdraw: () => undefined };
  }

  #told(): Pick<Submission, 'clientJobId' | 'phase' | 'notes'> {
    return { clientJobId: this.clientJobId, phase: this.phase, notes: this.notes };
  }

  async #run(request: JobRequest, files: FilesToSend | null): Promise<CreatedJob> {
    // All that can be refused without the files is refused before they are sent.
    if (files) await this.#backend.checkJob(request, this.#withdrawn.signal);
    const sent = files ? { files_id: await this.#send(files) } : {};
    this.phase = { name: 'creating' };
    this.#withdrawn.signal.throwIfAborted();
    // Not aborted any more: a job that came to be has to be known, so that it can be ended.
    const created = await this.#backend.createJob({ ...request, ...sent, client_job_id: this.clientJobId });
    this.jobId = created.job_id;
    return created;
  }

  async #send({ localPath, exclude, include, git, needsGit }: FilesToSend): Promise<string> {
    if (!this.#files) throw new Error('files can’t be sent over this connection');
    this.phase = { name: 'reading' };
    if (needsGit) await requireRepository(localPath);
    return this.#files.send(localPath, {
      excludes: exclude,
      includes: include,
      git,
      signal: this.#withdrawn.signal,
      onListed: ({ bytes }) => {
        this.phase = { name: 'uploading', bytes: 0, total: bytes };
      },
      onNotice: (text) => this.notes.push(text),
      onProgress: (bytes, total) => {
        this.phase = { name: 'uploading', bytes, total };
      },
    });
  }
}

function reused({ jobId }: RunningSubmission): FlashpodsError {
  return jobId === null
    ? new FlashpodsError(
        'idempotency_key_reused',
        'A different request came earlier with this client_job_id and is being sent.',
      )
    : new FlashpodsError('idempotency_key_reused', undefined, { details: { job_id: jobId } });
}

/** A directory that is none is left to the one that reads it. @throws ClientError invalid_arguments when it holds no repository */
async function requireRepository(directory: string): Promise<void> {
  if (!(await isDirectory(directory)) || (await gitDirectoryOf(join(directory, '.git'))) !== null) return;
  throw new ClientError(
    'invalid_arguments',
    `${directory} holds no .git, so that a sub-agent has no repository to work on.`,
    { advice: 'Give the top directory of a git repository, or git_url instead of files.' },
  );
}

async function isDirectory(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch (error) {
    if (systemCode(error) === undefined) throw error;
    return false;
  }
}

/** The directory of this process is wherever the agent was started: a relative path would mean anything. */
export function absolute(path: string): string {
  if (path === '~' || path.startsWith('~/')) return join(homedir(), path.slice(1));
  if (isAbsolute(path)) return path;
  throw new ClientError('invalid_arguments', `${JSON.stringify(path)} is not an absolute path.`, {
    advice: 'Give the whole path, beginning with / or ~/.',
  });
}
