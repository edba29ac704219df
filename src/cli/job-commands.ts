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

const JOB = 'job id, the start of one, or a job name';

export function addJobCommands(program: Command, settling: Settling): void {
  program.commandsGroup('Jobs:');
  addRun(program, settling);

  clientCommand(program, 'ps', 'list jobs', [
    'flashpods ps',
    'flashpods ps -a --limit 50',
    'flashpods ps --status failed --json',
  ])
    .option('-a, --all', 'include jobs that have ended')
    .option('--status <state>', 'only jobs in this state, such as queued or failed', jobStatus)
    .option('-l, --label <key=value>', 'only jobs with this label', label)
    .option('-n, --limit <number>', 'at most this many', integerFrom(1, 10_000), 20)
    .action(
      settling<PsOptions>(async (_args, options, context) =>
        (await import('./commands/ps.ts')).ps(options, context),
      ),
    );

  clientCommand(program, 'show', 'show everything about a job', [
    'flashpods show job_…',
    'flashpods show nightly          # by name; or by the beginning of its id',
    'flashpods show job_… --json | jq .usage',
  ])
    .argument('<job>', JOB, named)
    .action(
      settling(async ([job = ''], _options, context) =>
        (await import('./commands/show.ts')).show(job, context),
      ),
    );

  clientCommand(program, 'logs', 'print the log of a job', [
    'flashpods logs job_…',
    'flashpods logs -f --tail 20 job_…',
    'flashpods logs job_… 2>/dev/null | grep error',
  ])
    .argument('<job>', JOB, named)
    .option('-f, --follow', 'keep printing until the job ends')
    .option('-n, --tail <lines>', 'start this many lines before the end', integerFrom(1, 10_000))
    .option('-t, --timestamps', 'show when each line was printed')
    .option('--from-line <number>', 'start at this line number', integerFrom(1))
    .option('--head <lines>', 'print at most this many lines', integerFrom(1))
    .option('--grep <pattern>', 'print only lines that match this regular expression, with line numbers')
    .option('-C, --context <lines>', 'with --grep: lines around each', integerFrom(0, 100))
    .option('-i, --ignore-case', 'with --grep: upper and lower case are the same')
    .option('--save-to <file>', 'write all that the job printed to a new file')
    .option('--raw', 'print exactly what the job printed, byte for byte, also on a terminal')
    .action(
      settling<LogsOptions>(async ([id = ''], options, context) =>
        (await import('./commands/logs.ts')).logs(id, options, context),
      ),
    );

  clientCommand(program, 'wait', 'wait until a job ends and exit with its exit code', [
    'flashpods wait job_…',
    'flashpods wait --timeout 5m job_…',
  ])
    .argument('<job>', JOB, named)
    .option(
      '--timeout <time>',
      'give up after this time, with exit code 124, such as 90s or 5m (bare number: seconds)',
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
    .argument('[jobs...]', JOB, allNamed)
    .option('-l, --label <key=value>', 'cancel all active jobs with this label', label)
    .action(
      settling<KillOptions>(async (args, options, context) =>
        (await import('./commands/kill.ts')).kill(args, options, context),
      ),
    );

  clientCommand(program, 'rerun', 'run a job again with the same settings', [
    'flashpods rerun job_…',
    'flashpods rerun --follow --artifacts out job_…',
  ])
    .argument('<job>', JOB, named)
    .option('-f, --follow', 'show its output and exit with its exit code, as run does')
    .option('--artifacts <directory>', 'with --follow: fetch its artifacts to this directory')
    .option('--force', 'let artifacts overwrite files that are not from an earlier fetch')
    .option('-t, --timestamps', 'show when each line was printed')
    .option('--raw', 'print exactly what the job printed, byte for byte, also on a terminal')
    .action(
      settling<RerunOptions>(async ([id = ''], options, context) =>
        (await import('./commands/rerun.ts')).rerun(id, options, context),
      ),
    );

  addArtifacts(program, settling);
}

function addRun(program: Command, settling: Settling): void {
  const run = clientCommand(
    program,
    'run',
    'run a command as a job, show its output and exit with its exit code',
    [
      'flashpods run -- make test',
      "flashpods run --image node:24 -- 'npm ci && npm test | tee /artifacts/log'",
      "flashpods run --files . --artifacts out -- 'cp -r . /tmp/b && cd /tmp/b && make && cp app /artifacts'",
      'flashpods run --cpus 4 --memory 8 --timeout 1h --detach -- ./long-build',
    ],
  )
    .argument('<command...>', 'one argument runs in a shell; several run as they are, without one')
    .passThroughOptions();
  for (const option of jobOptions()) run.addOption(option);
  run
    .option('--no-merge', 'keep stdout and stderr apart, also on a terminal')
    .option('--name <name>', 'name of the job, kept as its label `name`')
    .option('--files <directory>', 'send a directory; the job sees it in /work')
    .option(
      '--exclude <pattern>',
      'leave out what matches, as in a .gitignore: *.log, /build/, data/**; repeatable',
      several,
    )
    .option(
      '--include <pattern>',
      'send what matches even if a rule leaves it out: .env, gen/**; repeatable',
      several,
    )
    .option('--git', 'also send .git, made complete where parts of it are stored elsewhere')
    .addOption(
      new Option(
        '--transport <kind>',
        'how files are sent: auto uses rsync where both ends have it, else http (default auto)',
      ).choices(['auto', 'rsync', 'http']),
    )
    .option('--artifacts <directory>', 'when the job has ended, fetch its artifacts to this directory')
    .option('--force', 'let artifacts overwrite files that are not from an earlier fetch')
    .option('-t, --timestamps', 'show when each line was printed')
    .option('--raw', 'print exactly what the job printed, byte for byte, also on a terminal')
    .option('-d, --detach', 'print the job id and exit')
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
    .argument('[job]', `${JOB}; none with --label`, named)
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
    .argument('[job]', `${JOB}; none with --label`, named)
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
