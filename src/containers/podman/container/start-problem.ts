/** Podman's and the OCI runtime's complaints about a start, as something that a user can act on. */

const NOT_FOUND = /exec: \\?"([^"\\]+)\\?":? .*(?:executable file not found|no such file or directory)/;
const NOT_EXECUTABLE = /exec: \\?"([^"\\]+)\\?":? .*permission denied/;

/** @param image as the job names it */
export const nothingToRun = (image: string): string =>
  `the image ${image} has neither ENTRYPOINT nor CMD, so there is nothing in it to run: give it one, or choose another image`;

export const createProblem = (message: string): string =>
  `could not create the container: ${innermost(message)}`;

export function startProblem(message: string): string {
  const missing = NOT_FOUND.exec(message)?.[1];
  if (missing !== undefined) return `the image has no ${missing}: ${innermost(message)}`;
  const forbidden = NOT_EXECUTABLE.exec(message)?.[1];
  if (forbidden !== undefined) return `${forbidden} of the image is not executable: ${innermost(message)}`;
  return `could not start the container: ${innermost(message)}`;
}

/** Without the chain of who called whom in front of it, and at a readable length. */
const innermost = (message: string): string =>
  message.replace(/^.*unable to start container process: /s, '').slice(0, 1_000);
