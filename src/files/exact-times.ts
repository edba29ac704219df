/**
 * Times of files to the nanosecond. Node's `utimes` takes a number, which has room for a quarter of a microsecond in
 * this century, and takes a time before 1970 for another one. So what it could not set exactly is set by a program:
 * perl by the system call, which takes all files at once, else touch(1), one by one.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { lstat, lutimes } from 'node:fs/promises';
import { isoNs, splitNs } from '../timing/nanoseconds.ts';

export interface FileTime {
  readonly path: string;
  /** Nanoseconds since the Unix epoch. */
  readonly mtimeNs: bigint;
}

/** More by touch(1) would take too long: they keep the time that Node can set. */
const MAX_TOUCHED = 1_000;

/** Reads lines of seconds, nanoseconds and the path in hex. The number of the system call is that of the architecture. */
const PERL = String.raw`
use strict; use POSIX ();
my $machine = (POSIX::uname())[4];
my $utimensat = $machine eq 'x86_64' ? 280 : $machine =~ /^(?:aarch64|riscv64)$/ ? 88 : exit 3;
$^O eq 'linux' or exit 3;
my $bad = 0;
while (<STDIN>) {
    my ($seconds, $rest, $hex) = split ' ';
    my $path = pack('H*', $hex) . "\0";
    # The time of access is left as it is (UTIME_OMIT), and a symlink is not followed (AT_SYMLINK_NOFOLLOW).
    my $times = pack('qqqq', 0, 1073741822, $seconds, $rest);
    $bad = 1 if syscall($utimensat, -100, $path, $times, 0x100) < 0;
}
exit $bad;
`;

/**
 * Sets when files, directories or symlinks themselves were last changed: exactly where the system and its programs can,
 * else as nearly as Node can. One that can't be set at all keeps its time.
 */
export async function setTimes(files: readonly FileTime[]): Promise<void> {
  const inexact: FileTime[] = [];
  for (const file of files) if (!(await setByNode(file))) inexact.push(file);
  if (inexact.length === 0 || (await setByPerl(inexact))) return;
  for (const file of inexact.slice(0, MAX_TOUCHED))
    await run('touch', ['-h', '-m', '-d', isoNs(file.mtimeNs), '--', file.path]);
}

async function setByNode({ path, mtimeNs }: FileTime): Promise<boolean> {
  try {
    const { atime, mtimeNs: now } = await lstat(path, { bigint: true });
    if (now === mtimeNs) return true;
    if (mtimeNs < 0n) return false;
    const { seconds, rest } = splitNs(mtimeNs);
    await lutimes(path, atime, Number(seconds) + Number(rest) / 1e9);
    return (await lstat(path, { bigint: true })).mtimeNs === mtimeNs;
  } catch {
    return false;
  }
}

async function setByPerl(files: readonly FileTime[]): Promise<boolean> {
  const lines = files.map(({ path, mtimeNs }) => {
    const { seconds, rest } = splitNs(mtimeNs);
    return `${seconds} ${rest} ${Buffer.from(path).toString('hex')}\n`;
  });
  return run('perl', ['-e', PERL], lines.join(''));
}

/** @returns whether there is such a program, and it ended with 0 */
async function run(program: string, args: readonly string[], input = ''): Promise<boolean> {
  const child = spawn(program, args, { stdio: ['pipe', 'ignore', 'ignore'] });
  child.stdin.on('error', () => undefined); // it ended without reading
  child.stdin.end(input);
  try {
    const [code] = (await once(child, 'close')) as [number | null];
    return code === 0;
  } catch {
    return false;
  }
}
