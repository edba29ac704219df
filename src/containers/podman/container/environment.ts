/** The variables of a job's processes. The job's own win over its image's, and these over ours. */
export interface EnvironmentParts {
  /** `ENV` of the image. */
  readonly image: Readonly<Record<string, string>>;
  /** As whom the job runs. */
  readonly user: { readonly name: string; readonly home: string };
  /** Path of the shell that people of this image would use. */
  readonly shell: string;
  readonly defaults: Readonly<Record<string, string>>;
  readonly own: Readonly<Record<string, string>>;
}

/** Where the image says none. */
const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

export function environment({ image, user, shell, defaults, own }: EnvironmentParts): Record<string, string> {
  return {
    SHELL: shell,
    ...defaults,
    ...image,
    // First, as login shells of the distributions have it: what a job installs for itself is what it wants to use.
    PATH: `${user.home}/.local/bin:${image['PATH'] ?? PATH}`,
    // The image's belong to the machine on which it was made.
    HOME: user.home,
    USER: user.name,
    LOGNAME: user.name,
    ...own,
  };
}
