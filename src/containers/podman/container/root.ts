/** The root file system of a job's container: what it is made of, and to whom the files in it belong. */
import { FlashpodsError } from '../../../errors.ts';
import { HOME } from '../../mounts.ts';
import { isArgv, type LaunchSpec } from '../../sandbox.ts';
import type { ImageConfig, Images } from '../images/images.ts';
import { JOB_UID, type JobUser } from '../rootfs/job-user.ts';
import { asContainerError } from './container.ts';
import type { CreateBody } from './create-spec.ts';
import { userId } from './job-user.ts';
import { nothingToRun } from './start-problem.ts';

export interface Root {
  /** What Podman is told of it. */
  readonly body: CreateBody;
  readonly user: { readonly name: string; readonly home: string };
  /**
   * Id inside behind which the host's id stands to which a job's files belong; null when only the image's
   * `/etc/passwd` can tell it.
   */
  readonly filesUid: number | null;
}

/**
 * What an image on this host says of itself.
 * @throws FlashpodsError container_start_failed when it is not here, or there is nothing in it to run
 */
export async function imageOf(images: Images, spec: LaunchSpec): Promise<NamedImage> {
  const { image } = spec;
  const name = images.remembered(image) ?? (await localName(images, image));
  const config = name === null ? null : images.configOf(name);
  if (name === null || config === null) throw startFailed(`the image ${image} is not on this host`);
  // Podman from 5 on leaves this to the OCI runtime, which only says that something is empty.
  const isEmpty = isArgv(spec.command) && spec.command.length === 0;
  if (isEmpty && config.entrypoint.length + config.command.length === 0)
    throw startFailed(nothingToRun(image));
  return { ...config, name };
}

export interface NamedImage extends ImageConfig {
  /** Under which it is here. */
  readonly name: string;
}

/**
 * The image itself, read-only: for hosts that can't do better.
 * @throws FlashpodsError container_start_failed for an image that could steer the OCI runtime
 */
export function readOnlyRoot(
  images: Images,
  image: NamedImage,
  { isRoot, obeysAnnotations }: { readonly isRoot: boolean; readonly obeysAnnotations: boolean },
): Root {
  const { name, user, digest, oddAnnotations } = image;
  const [odd] = oddAnnotations;
  // Some of them let crun, which is root, open files of the host or drop the filter of system calls.
  if (obeysAnnotations && odd !== undefined)
    throw startFailed(
      `the image ${name} has the annotation ${odd}, which Podman before 4.5.1 hands on to crun. ` +
        'Make the image without it, or install runc or a newer Podman on this host',
    );
  const asJob = !isRoot && ['', 'root', '0'].includes(user.split(':')[0] ?? '');
  return {
    body: {
      image: name,
      read_only_filesystem: true,
      // An image's VOLUME would be a writable directory outside of the job's bounded disk.
      image_volume_mode: 'ignore',
      ...(isRoot ? { user: '0:0' } : asJob ? AS_JOB : {}),
    },
    user: { name: isRoot ? 'root' : asJob ? 'job' : (user.split(':')[0] ?? ''), home: HOME },
    filesUid: isRoot ? 0 : asJob ? JOB_UID : (userId(user) ?? images.namedUser(digest)),
  };
}

/** Podman adds the entry where the image has none for this id. */
const AS_JOB = {
  user: `${JOB_UID}:${JOB_UID}`,
  passwd_entry: `job:x:${JOB_UID}:${JOB_UID}::${HOME}:/bin/sh`,
};

/** @param path of the root that we have mounted, which says nothing of the image's configuration */
export function writableRoot(path: string, image: NamedImage, user: JobUser): Root {
  return {
    body: {
      rootfs: path,
      user: `${user.uid}:${user.gid}`,
      groups: user.groups.map(String),
      entrypoint: image.entrypoint,
      command: image.command,
      // It has the entries that it needs.
      passwd: false,
    },
    user,
    filesUid: 0, // mounts map owners
  };
}

/** The name under which an image is here, or null. @throws FlashpodsError container_error */
export async function localName(images: Images, image: string): Promise<string | null> {
  try {
    return await images.local(image);
  } catch (error) {
    throw asContainerError(error);
  }
}

const startFailed = (message: string): FlashpodsError =>
  new FlashpodsError('container_start_failed', message);
