/** What is run in a container, as far as it is known what its image has. */
import { FlashpodsError } from '../../../errors.ts';
import { isArgv, type LaunchSpec } from '../../sandbox.ts';
import { bashOf, planCommand } from '../../shell.ts';
import type { ImageConfig, Images } from '../images/images.ts';

export interface CommandPlan {
  /** Empty: the image's own. */
  readonly argv: readonly string[];
  /** What runs the job's command, as a person would say it; null where it is no text for a shell. */
  readonly ranBy: string | null;
  /** The shell that people of this image would use. */
  readonly shell: string;
  /** What has to be looked up in the image before this is certain. */
  readonly unknown: readonly string[];
}

/** @throws FlashpodsError container_start_failed when the image has nothing that could run the command */
export function planFor(
  images: Pick<Images, 'hasProgram'>,
  spec: Pick<LaunchSpec, 'command' | 'image'>,
  { digest }: Pick<ImageConfig, 'digest'>,
): CommandPlan {
  const has = (path: string): boolean | null => images.hasProgram(digest, path);
  const bash = bashOf(has);
  const shell = bash.path ?? '/bin/sh';
  if (isArgv(spec.command)) return { argv: spec.command, ranBy: null, shell, unknown: bash.unknown };
  const plan = planCommand(spec.command, spec.image, has);
  if ('problem' in plan) throw new FlashpodsError('container_start_failed', plan.problem);
  return { ...plan, shell, unknown: [...new Set([...plan.unknown, ...bash.unknown])] };
}
