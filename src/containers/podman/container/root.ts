/** The root file system of a job's container: what it is made of, and to whom the files in it belong. */
import { FlashpodsError } from '../../../errors.ts';
import type { Images } from '../images/images.ts';
import { asContainerError } from './container.ts';
import type { CreateBody } from './create-spec.ts';
import { userId } from './job-user.ts';

export interface Root {
  /** What Podman is told of it. */
  readonly body: CreateBody;
  readonly digest: string;
  readonly user: string;
  /** It has an ENTRYPOINT or a CMD. */
  readonly hasCommand: boolean;
  /** Id of that user; null when only the image's `/etc/passwd` can tell. */
  readonly userId: number | null;
  /** `ENV` of the image. */
  readonly env: Readonly<Record<string, string>>;
}

/** The image, which is on this host, read-only. @throws FlashpodsError container_start_failed */
export async function rootOf(images: Images, image: string): Promise<Root> {
  const name = images.remembered(image) ?? (await localName(images, image));
  if (name === null)
    throw new FlashpodsError('container_start_failed', `the image ${image} is not on this host`);
  const { user, digest, hasCommand, env } = images.userOf(name);
  return {
    body: {
      image: name,
      read_only_filesystem: true,
      // An image's VOLUME would be a writable directory outside of the job's bounded disk.
      image_volume_mode: 'ignore',
    },
    digest,
    user,
    hasCommand,
    env,
    userId: userId(user) ?? images.namedUser(digest),
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
