/**
 * What to do about failures that have their reason in where a command runs, found in its log: a place that can't be
 * written, a name that does not resolve, files that were not sent. A guess from the text, as `error-lines.ts` is; what is
 * about a missing program or a missing part of one is in `images/` and `packages/`.
 */
import { isPlainName } from '../observability/unsafe-text.ts';

/** What of a job the advice depends on. */
export interface FailedJob {
  readonly command?: string | null | undefined;
  readonly files_id?: string | null | undefined;
  readonly writable?: boolean | undefined;
  readonly root?: boolean | undefined;
  readonly network?: string | undefined;
  readonly memory_gb?: number | undefined;
  readonly cpus?: number | undefined;
  readonly disk_gb?: number | null | undefined;
  readonly shell?: string | undefined;
  readonly error?: string | null | undefined;
  readonly packages?: readonly string[] | undefined;
}

/** A path that the job chose, in a sentence of ours; the other word where it could be a sentence itself. */
const named = (path: string, otherwise: string): string => (isPlainName(path) ? path : otherwise);

interface Hint {
  /** In the words of shells, tools and the usual languages' libraries. */
  readonly says: RegExp;
  /** Null where it is something else after all. */
  readonly advice: (job: FailedJob, found: RegExpExecArray) => string | null;
}

const WRITE_IN = 'A job can write in /work, /tmp, /artifacts and $HOME';

/** The first that fits says it: what is particular stands before what is general. */
const HINTS: readonly Hint[] = [
  // Files and the places they lie in.
  {
    says: /: Read-only file system|\bEROFS\b|Errno 30\b/i,
    advice: ({ writable }) =>
      writable === false
        ? '/work was asked for read-only: leave out `writable`, or build in a copy (`cp -a /work /tmp/b && cd /tmp/b`).'
        : `${WRITE_IN}; the rest of this container is read-only. Give the tool such a place (a prefix, a cache or an output directory).`,
  },
  {
    says: /Invalid cross-device link|\bEXDEV\b|cross-device link not permitted|invalid cross-link device/i,
    advice: () =>
      'rename and hard links work within one file system only. Copy and delete instead (`mv`, `cp`), or keep both ends in the same directory.',
  },
  {
    says: /System limit for number of file watchers|inotify_(?:init|add_watch).*(?:No space|Too many)|inotify instances/i,
    advice: () => 'The job has used up its file watchers: turn watching off (`CI=1`, `--no-watch`), or poll.',
  },
  {
    says: /\/dev\/shm.{0,200}No space left on device|could not resize shared memory segment/i,
    advice: ({ memory_gb: memory = 0 }) =>
      `/dev/shm holds half of the memory (${memory / 2} GB here): ask for more \`memory_gb\`.`,
  },
  {
    says: /No space left on device|\bENOSPC\b|Disk quota exceeded|\bEDQUOT\b/i,
    advice: ({ disk_gb: disk }) =>
      `The job's disk is full${typeof disk === 'number' ? ` (${disk} GB)` : ''}: ask for more with \`disk_gb\`, or delete what is not needed.`,
  },
  {
    says: /could not open lock file .{0,100}Permission denied|are you root\?|[Mm]ust be (?:run as )?root|requires? (?:root|superuser)|you need to be root|only root can|superuser privileges|must run .{0,40} as root/i,
    advice: ({ root }) =>
      root === true
        ? null
        : '`"root": true` (`--root`) runs the command as root; `packages` installs Debian packages.',
  },
  {
    says: /cannot be run as root|(?:run|running) .{0,40}as root (?:is not|without)|refus\w+ to run .{0,30}root|should not be run as root/i,
    advice: ({ root }) => (root === true ? 'This program does not run as root: leave out `root`.' : null),
  },
  {
    says: /Operation not permitted|\bEPERM\b|[Pp]ermission denied.{0,60}(?:mount|unshare|namespace|ptrace)|(?:mount|unshare|setns|ptrace).{0,100}[Pp]ermission denied/,
    advice: ({ root }) =>
      `No job can mount, make namespaces, change the clock or trace other users' processes.${root === true ? '' : ' `"root": true` (`--root`) lets it change owners and users.'}`,
  },
  {
    says: /No usable sandbox|Failed to move to new namespace|setuid sandbox|zygote_host/i,
    advice: () =>
      'A browser starts in a job with `--no-sandbox`; `"packages": ["chromium"]` brings one that does so itself.',
  },
  {
    says: /(?:^|\s|: )(\.{0,2}\/[^\s:]+): Permission denied$/,
    advice: (_job, [, path = '']) =>
      /^(?:\.|\/work)/.test(path)
        ? `${named(path, 'The file')} can't be run or written: \`chmod +x\` it, run it by its interpreter (\`sh ${named(path, 'FILE')}\`), or look at its owner with \`ls -l\`.`
        : `${WRITE_IN}; other places belong to root.`,
  },
  {
    says: /[Pp]ermission denied|\bEACCES\b/,
    advice: ({ root }) =>
      `${WRITE_IN}; other places belong to root${root === true ? '' : ', which `"root": true` (`--root`) makes the command'}.`,
  },
  // What was not sent.
  {
    says: /dubious ownership/i,
    advice: () =>
      "git refuses a directory of another user: run `git config --global --add safe.directory '*'` before it.",
  },
  {
    says: /not a git repository|No names found, cannot describe|setuptools[-_]scm was unable to detect|No git repository/i,
    advice: () => 'The .git was not sent: `files.git: true` (`--git`) sends it along.',
  },
  {
    says: /Please tell me who you are|Author identity unknown|unable to auto-detect email/i,
    advice: () =>
      'git knows no author here: set `GIT_AUTHOR_NAME`, `GIT_AUTHOR_EMAIL` and the same of `GIT_COMMITTER_` in `env`.',
  },
  {
    says: /No rule to make target|No targets specified and no makefile found|[Cc]ould not read package\.json|Could not find a package\.json|no such file or directory, open '[^']*package\.json'|could not find `?Cargo\.toml|does not appear to contain CMakeLists|go: (?:go\.mod file not found|cannot find main module)|Could not open requirements file|can't open file '\/work|no tests ran|no such file or directory: ?\S*pyproject/i,
    advice: ({ files_id: files }) =>
      files === null || files === undefined
        ? 'No files were sent, so /work is empty: give `files` (`{}` sends the project that is open; `--files DIR`).'
        : 'The command runs in /work, which has the directory that was sent: `find . -maxdepth 2` shows what is there, `notes` what stayed behind.',
  },
  // The shell and what it is to start.
  {
    says: /\^M\b|\$'[^']{0,200}\\r'/,
    advice: () =>
      'The file has line ends of Windows: `sed -i "s/\\r$//" FILE`, or `git config core.autocrlf input` at home.',
  },
  {
    says: /Exec format error|cannot execute binary file/i,
    advice: () =>
      'This file is of another processor or system, or a script without a first line `#!`: build it in the job.',
  },
  {
    says: /version [`'"]?(?:GLIBC|GLIBCXX|CXXABI)_[\d.]+['"]? not found/i,
    advice: () =>
      'The program was built against a newer system than the image: build it in the job, or take a newer image.',
  },
  {
    says: /Syntax error: (?:"\("|redirection|Bad (?:fd|for loop|substitution))|Illegal option -o pipefail|\[\[: not found|Bad substitution|: source: not found|declare: not found/,
    advice: ({ shell }) =>
      shell === 'sh'
        ? 'This is bash, and `shell` asked for sh: leave it out.'
        : 'A script for bash was run by sh: call it as `bash FILE`, or begin it with `#!/bin/bash`.',
  },
  {
    says: /Argument list too long|\bE2BIG\b/,
    advice: () => 'Too many arguments for one call: pass them by `xargs` or by a file.',
  },
  // Limits.
  {
    says: /JavaScript heap out of memory|Reached heap limit/,
    advice: ({ memory_gb: memory = 4 }) =>
      `Node keeps to a heap of its own: \`"env": {"NODE_OPTIONS": "--max-old-space-size=${memory * 768}"}\`, and more \`memory_gb\` if that is not enough.`,
  },
  {
    says: /Cannot allocate memory|virtual memory exhausted|java\.lang\.OutOfMemoryError|Killed signal terminated program|std::bad_alloc|^MemoryError\b|\bENOMEM\b|memory allocation of \d+ bytes failed|out of memory/i,
    advice: (job) => memoryAdvice(job),
  },
  {
    says: /fork: (?:retry: )?Resource temporarily unavailable|Cannot fork|pthread_create failed|can't start new thread|unable to create (?:new )?(?:native )?thread/i,
    advice: () => 'The job reached its limit of processes and threads: start fewer at once.',
  },
  {
    says: /Too many open files|\bEMFILE\b/,
    advice: () => 'Too many files are open at once: run fewer tests or workers side by side.',
  },
  // The network.
  {
    says: /Could not resolve|Temporary failure (?:in name resolution|resolving)|Name or service not known|\bEAI_AGAIN\b|\bENOTFOUND\b|getaddrinfo|no such host|nodename nor servname|dns error|Unknown host/i,
    advice: ({ network }) =>
      network === 'none'
        ? '`network: "none"` was asked for: leave it out to reach the internet.'
        : 'The name does not resolve in the job: check its spelling; else the farm has no way to it (`flashpods doctor` on the host looks at names and mirrors).',
  },
  {
    says: /self[- ]signed certificate|certificate verify failed|unable to get local issuer|signed by unknown authority|SSL certificate problem|CERTIFICATE_VERIFY_FAILED|PKIX path building failed|certificate (?:is not|not) trusted|UnknownIssuer/i,
    advice: () =>
      'The job does not know the CA of that server: the person sets `FLASHPODS_CA_FILE` on the farm (docs/mirrors.md). For one job send the CA file and name it in `env` (`SSL_CERT_FILE`, `NODE_EXTRA_CA_CERTS`, `REQUESTS_CA_BUNDLE`).',
  },
  {
    says: /address already in use|\bEADDRINUSE\b/i,
    advice: () =>
      'Another process of this job has the port: each job has its own network, so it was started twice in it.',
  },
  {
    says: /(?:(?:127\.0\.0\.1|localhost|::1).{0,80}Connection refused|ECONNREFUSED (?:127\.0\.0\.1|::1)|Connection refused.{0,80}(?:127\.0\.0\.1|localhost))/i,
    advice: () =>
      'Nothing listens there: a job has its own localhost, so the command has to start the service itself and wait for it.',
  },
  {
    says: /Connection timed out|Network is unreachable|No route to host|\bETIMEDOUT\b|\bENETUNREACH\b|Connection refused|\bECONNREFUSED\b/i,
    advice: ({ network }) =>
      network === 'none'
        ? '`network: "none"` was asked for: leave it out to reach the internet.'
        : 'The other end could not be reached from the job. Private addresses may be out of its reach.',
  },
  // What wants a person, or another system.
  {
    says: /EOF when reading a line|[Ii]nappropriate ioctl for device|not a (?:tty|typewriter|terminal)|input device is not a TTY|stdin is not a (?:tty|terminal)|could not read (?:Username|Password) for|terminal prompts disabled/,
    advice: () =>
      'Jobs have no terminal and no input: give the answer by an option (`-y`, `--yes`, `--batch`) or by `env`.',
  },
  {
    says: /externally-managed-environment/,
    advice: () =>
      'pip wants an environment of its own: `python3 -m venv /tmp/v && . /tmp/v/bin/activate` before it.',
  },
  {
    says: /ModuleNotFoundError: No module named '?([\w.]{1,60})|ImportError: No module named '?([\w.]{1,60})/,
    advice: (_job, [, name, older]) =>
      `The job has no Python module ${name ?? older ?? ''}: install it in the same command, since nothing is kept from one job to the next.`,
  },
  {
    says: /Cannot find (?:module|package) '([^'./][^']{0,80})'/,
    advice: (_job, [, name = '']) =>
      `The job has no ${isPlainName(name) ? `module ${name}` : 'such module'}: node_modules is not sent, so run \`npm ci\` in the same command.`,
  },
  {
    says: /Cannot connect to the Docker daemon|docker\.sock/i,
    advice: () =>
      'There is no Docker in a job: start the service as a process, or take `image` for what the container was for.',
  },
  {
    says: /not been booted with systemd|Failed to connect to (?:system scope )?bus/i,
    advice: () => 'There is no systemd in a job: start the service as a process.',
  },
];

const MAX_LINE = 2_000;

/**
 * @param said lines of its log that look like the error, and its last ones; what is particular goes before what is general
 * @returns a sentence or two; null when nothing is known
 */
export function failureHint(job: FailedJob, said: readonly string[]): string | null {
  if (job.error === 'oom_killed') return memoryAdvice(job);
  let best: { readonly rank: number; readonly text: string } | null = null;
  for (const line of said) {
    const text = line.length > MAX_LINE ? line.slice(0, MAX_LINE) : line;
    for (const [rank, { says, advice }] of HINTS.entries()) {
      if (best && rank >= best.rank) break;
      const found = says.exec(text);
      const told = found && advice(job, found);
      if (typeof told === 'string') best = { rank, text: told };
    }
  }
  return best?.text ?? null;
}

/** As many at once as the tool finds cpus, or as it was told. */
const SIDE_BY_SIDE = /(?:^|\s)(?:-j|--jobs|--parallel)[ =]?(\d+|auto|\$\(nproc\))?(?=\s|$|[;&|])/;

function memoryAdvice({ command, memory_gb: memory = 4, cpus }: FailedJob): string {
  const more = `The job had ${memory} GB: ask for more \`memory_gb\``;
  const told = SIDE_BY_SIDE.exec(command ?? '');
  if (!told) return `${more}.`;
  const now = Number(told[1]) || (cpus ?? 2);
  const fewer = Math.max(1, Math.floor(now / 2));
  return `${more}, or run fewer at once (\`-j${fewer}\` instead of \`${told[0].trim()}\`).`;
}

/** A tenth of a cpu over a silence is a program that waits. */
const IDLE_PART = 0.1;
/** Less is a pause. */
const SILENT_SECONDS = 20;

/** What is said of a command that was silent for long. @param cpuSeconds used in all; null when nobody knows */
export function silenceHint(
  silentSeconds: number,
  { ranSeconds, cpuSeconds, last }: { ranSeconds: number; cpuSeconds: number | null; last: string },
): string | null {
  if (silentSeconds < SILENT_SECONDS) return null;
  const isIdle = cpuSeconds !== null && cpuSeconds < ranSeconds * IDLE_PART;
  const asks = /(?:[?:>]|\[[yY]\/[nN]\]|\([yY]\/[nN]\)|\(yes\/no\))\s*$/.test(last);
  const cpu =
    cpuSeconds === null ? '' : isIdle ? ', hardly any cpu used' : `, ${cpuSeconds.toFixed(0)} s of cpu used`;
  const why =
    asks || isIdle
      ? ` It may wait for ${asks ? 'an answer' : 'something'}: jobs have no input, so give answers by options (\`-y\`).`
      : '';
  return `No output for ${Math.round(silentSeconds)} s${cpu}.${why}`;
}
