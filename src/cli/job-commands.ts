/** The commands that work with jobs, as `--help` shows them. Nothing of one is loaded before it is called. */
import { type Command, InvalidArgumentError, Option } from 'commander';
import { isJobState, JOB_STATES } from '../jobs/states.ts';
import { clientCommand, type Settling, withExamples, addConnectionOptions } from './command-builder.ts';
import type { GetArtifactsOptions, ListArtifactsOptions } from './commands/artifacts.ts';
import type { KillOptions } from './commands/kill.ts';
import type { LogsOptions } from './commands/logs.ts';
import type { PsOptions } from './commands/ps.ts';
import type { RerunOptions } from './commands/rerun.ts';
import type { RunOptions } from './commands/run.ts';
import type { WaitOptions } from './commands/wait.ts';
import { jobOptions } from './job-options.ts';
import { allNamed, integerFrom, label, named, seconds, several } from './option-values.ts';

export function addJobCommands(program: Command, settling: Settling): void {
  program.commandsGroup('Jobs:');
  addRun(program, settling);

  clientCommand(program, 'ps', 'list jobs', [
    'flashpods ps',
    'flashpods ps -a --limit 50',
    'flashpods ps --status failed --json',
  ])
    .option('-a, --all', 'also those that have ended')
    .option('--status <state>', 'only those in a state, such as queued or failed', jobStatus)
    .option('-l, --label <key=value>', 'only those with a label', label)
    .option('-n, --limit <number>', 'at most this many', integerFrom(1, 10_000), 20)
    .action(
      settling<PsOptions>(async (_args, options, context) =>
        (await import('./commands/ps.ts')).ps(options, context),
      ),
    );

  clientCommand(program, 'logs', 'print the log of a job', [
    'flashpods logs job_…',
    'flashpods logs -f --tail 20 job_…',
    'flashpods logs job_… 2>/dev/null | grep error',
  ])
    .argument('<job>', 'id of the job', named)
    .option('-f, --follow', 'go on until the job ends')
    .option('-n, --tail <lines>', 'begin this many lines before the end', integerFrom(1, 10_000))
    .option('-t, --timestamps', 'show when each line was printed')
    .option('--from-line <number>', 'begin at the line with this number', integerFrom(1))
    .option('--head <lines>', 'this many lines at most', integerFrom(1))
    .option('--grep <pattern>', 'only lines that this regular expression finds, with their numbers')
    .option('-C, --context <lines>', 'with --grep: lines around each', integerFrom(0, 100))
    .option('-i, --ignore-case', 'with --grep: upper and lower case are the same')
    .option('--save-to <file>', 'write all that the job printed to a new file')
    .option('--raw', 'what the job printed, byte for byte and nothing else, also on a terminal')
    .action(
      settling<LogsOptions>(async ([id = ''], options, context) =>
        (await import('./commands/logs.ts')).logs(id, options, context),
      ),
    );

  clientCommand(program, 'wait', 'wait for the end of a job and exit with its exit code', [
    'flashpods wait job_…',
    'flashpods wait --timeout 5m job_…',
  ])
    .argument('<job>', 'id of the job', named)
    .option(
      '--timeout <time>',
      'give up after this time, with exit code 124; seconds unless it says 5m',
      seconds,
    )
    .action(
      settling<WaitOptions>(async ([id = ''], options, context) =>
        (await import('./commands/wait.ts')).wait(id, options, context),
      ),
    );

  clientCommand(program, 'kill', 'cancel jobs', [
    'flashpods kill job_…',
    'flashpods kill --label suite=nightly',
  ])
    .argument('[jobs...]', 'ids of jobs', allNamed)
    .option('-l, --label <key=value>', 'all that wait or run and have this label', label)
    .action(
      settling<KillOptions>(async (args, options, context) =>
        (await import('./commands/kill.ts')).kill(args, options, context),
      ),
    );

  clientCommand(program, 'rerun', 'make a job once more, with the same values', [
    'flashpods rerun job_…',
    'flashpods rerun --follow --artifacts out job_…',
  ])
    .argument('<job>', 'id of the job', named)
    .option('-f, --follow', 'follow the new job and exit with its exit code, as run does')
    .option('--artifacts <directory>', 'with --follow: fetch what it leaves in /artifacts to here')
    .option('--force', 'let artifacts overwrite files')
    .option('-t, --timestamps', 'show when each line was printed')
    .option('--raw', 'what the job printed, byte for byte and nothing else, also on a terminal')
    .action(
      settling<RerunOptions>(async ([id = ''], options, context) =>
        (await import('./commands/rerun.ts')).rerun(id, options, context),
      ),
    );

  addArtifacts(program, settling);
}

function addRun(program: Command, settling: Settling): void {
  const run = clientCommand(program, 'run', 'run a command as a job, follow it and exit with its exit code', [
    'flashpods run -- make test',
    "flashpods run --image node:24 -- 'npm ci && npm test | tee /artifacts/log'",
    "flashpods run --files . --artifacts out -- 'cp -r . /tmp/b && cd /tmp/b && make && cp app /artifacts'",
    'flashpods run --cpus 4 --memory 8 --timeout 1h --detach -- ./long-build',
  ])
    .argument('<command...>', 'one argument is a shell command as it is; several are its words')
    .passThroughOptions();
  for (const option of jobOptions()) run.addOption(option);
  run
    .option('--no-merge', 'give stdout and stderr a pipe each, also on a terminal')
    .option('--name <name>', 'name of the job, kept as its label `name`')
    .option('--files <directory>', 'send a directory; the job sees it in /work')
    .option(
      '--exclude <pattern>',
      'leave out what matches, as in a .gitignore: *.log, /build/, data/**; repeatable',
      several,
    )
    .option(
      '--include <pattern>',
      'take along what matches although a rule leaves it out: .env, gen/**; repeatable',
      several,
    )
    .option('--git', 'send the repository, too: .git, made whole where parts of it lie elsewhere')
    .addOption(
      new Option(
        '--transport <kind>',
        'how files are sent: rsync where both ends have it, or http alone',
      ).choices(['auto', 'rsync', 'http']),
    )
    .option('--artifacts <directory>', 'fetch what the job leaves in /artifacts to here')
    .option('--force', 'let artifacts overwrite files')
    .option('-t, --timestamps', 'show when each line was printed')
    .option('--raw', 'what the job printed, byte for byte and nothing else, also on a terminal')
    .option('-d, --detach', 'print the id of the job and leave it')
    .action(
      settling<RunOptions>(async (args, options, context) =>
        (await import('./commands/run.ts')).run(args, options, context),
      ),
    );
}

const LABELLED = 'instead of an id: the newest job with this label whose artifacts are there';

function addArtifacts(program: Command, settling: Settling): void {
  const artifacts = clientCommand(program, 'artifacts', 'list what a job left in /artifacts, or get it', [
    'flashpods artifacts job_…',
    'flashpods artifacts get job_… -o out',
    "flashpods artifacts get job_… 'build/**' '**/*.xml' -o out",
    'flashpods artifacts --label run=42',
  ])
    .argument('[job]', 'id of the job; none with --label', named)
    .argument('[names...]', 'names, directories or globs of artifacts; all of them unless given', allNamed)
    .option('-l, --label <key=value>', LABELLED, label)
    .action(
      settling<ListArtifactsOptions>(async (words, options, context) =>
        (await import('./commands/artifacts.ts')).listArtifacts(words, options, context),
      ),
    );
  const get = addConnectionOptions(
    artifacts.command('get').description('fetch artifacts with their modes and times: those named, or all'),
  );
  withExamples(get, [
    'flashpods artifacts get job_… -o out',
    'flashpods artifacts get job_… reports/junit.xml -o junit.xml',
    'flashpods artifacts get --label run=42 -o out',
    "flashpods artifacts get job_… 'build/**' '**/*.xml' -o out",
  ])
    .argument('[job]', 'id of the job; none with --label', named)
    .argument('[names...]', 'names, directories or globs of artifacts; all of them unless given', allNamed)
    .option('-l, --label <key=value>', LABELLED, label)
    .option('-o, --output <path>', 'directory to write to; for one file also a file')
    .option('--force', 'overwrite files')
    .action(
      settling<GetArtifactsOptions>(async (words, options, context) =>
        (await import('./commands/artifacts.ts')).getArtifacts(words, options, context),
      ),
    );
}

function jobStatus(value: string): string {
  if (value === 'all' || value === 'active' || isJobState(value)) return value;
  throw new InvalidArgumentError(`It must be active, all, or one of ${JOB_STATES.join(', ')}.`);
}
