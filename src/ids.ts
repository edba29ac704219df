import { randomInt } from 'node:crypto';

const ALPHABET = 'abcdefghijklmnopqrstuvwxyz0123456789';

/** 12 characters of 36: 62 bits, so that a collision among 10^6 ids has a chance of about 10^-7. */
const random12 = (): string =>
  Array.from({ length: 12 }, () => ALPHABET[randomInt(ALPHABET.length)]).join('');

export const newJobId = (): string => `job_${random12()}`;
export const newSandboxId = (): string => `sandbox_${random12()}`;
export const newUploadId = (): string => `upload_${random12()}`;

export const isJobId = (value: string): boolean => /^job_[a-z0-9]{12}$/.test(value);
export const isUploadId = (value: string): boolean => /^upload_[a-z0-9-]{12}$/.test(value);

/** The name of one dispatch of a job: BullMQ's id in the host's queue, and part of its container's name. */
export const dispatchId = (jobId: string, epoch: number): string => `${jobId}-${epoch}`;

const BUILD = 'flashpods-build-';
/** The same of a build, by its sandbox. */
export const buildName = (sandboxId: string): string => `${BUILD}${sandboxId}`;
export const isBuildName = (name: string): boolean => name.startsWith(BUILD);

/** Under which people find the container of a dispatch. Nothing reads it back: records and labels say what it is. */
export const containerName = (jobId: string, epoch: number): string =>
  `flashpods-${dispatchId(jobId, epoch)}`;
