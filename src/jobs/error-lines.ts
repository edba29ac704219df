/**
 * Finds the lines of a log that look like the reason of a failure: messages of compilers and linkers, tracebacks,
 * panics, failed tests, messages of the shell and the kernel. It guesses, from the text alone: an error in a form that
 * is not known here is not found, and a program that prints such a line for another reason is believed.
 */
import { setImmediate as turn } from 'node:timers/promises';
import { beginningOf, endOf } from '../observability/cut-text.ts';

export interface TextLine {
  /** Number of the line's first record in the log, from 1. */
  readonly seq: number;
  readonly text: string;
}

export interface ErrorLines {
  /** In the order of the log. */
  readonly lines: readonly TextLine[];
  /** Lines that look like an error and did not fit. */
  readonly more: number;
}

/** A block begins with such a line; the next ones belong to it as long as `continues` says so. */
interface Pattern {
  /** The more it is, the likelier it is the reason and not a consequence. */
  readonly weight: number;
  readonly begins: RegExp;
  /** Lines after the first that are kept, at most. */
  readonly follow?: number;
  readonly continues?: RegExp;
  /** Keep the end of a long block and not its beginning: where a traceback says what was raised. */
  readonly keepEnd?: boolean;
  /**
   * Programs print such a line for other reasons, too (a test of how errors are handled, a file that may be missing): it
   * tells something only where the command failed.
   */
  readonly onlyFailed?: true;
}

/**
 * A job chooses what they are asked about, and a repetition without a bound that may begin anywhere takes time by the
 * square of the line: `.{0,300}` and not `.*`.
 */
const PATTERNS: readonly Pattern[] = [
  // Python: the last frames and the exception, which is the first line that is not indented.
  {
    weight: 9,
    begins: /^\s*Traceback \(most recent call last\):/,
    continues: /^\s|^[\w.]+(?:Error|Exception|Warning|Exit|Interrupt|Iteration)\b|^[\w.]+: /,
    follow: 5,
    keepEnd: true,
  },
  // Go and Rust panics, with what they say next.
  {
    weight: 9,
    begins: /^(?:panic: |fatal error: (?!.{0,300}file not found))/,
    follow: 4,
    continues: /^(?:\s|\[|goroutine |main\.|$)/,
  },
  { weight: 9, begins: /^thread '[^']*'(?: \(\d+\))? panicked at/, follow: 2, continues: /^(?!note: )/ },
  // GCC, Clang, Go, TypeScript, Java …: FILE:LINE[:COLUMN]: error
  {
    weight: 8,
    begins: /^\S[^:()]*:\d+(?::\d+)?(?::| -)? (?:fatal )?error\b/i,
    follow: 1,
    continues: /^\s+\d* ?\|/,
  },
  { weight: 8, begins: /^\S.{0,300}\(\d+,\d+\): error [A-Z]+\d+:/ },
  {
    weight: 8,
    begins: /^error(?:\[E\d+\])?: (?!test failed|could not compile|aborting due)/,
    follow: 1,
    continues: /^\s+--> /,
  },
  { weight: 8, begins: /^\.{0,2}\/?\S+\.go:\d+:\d+: \S/ },
  { weight: 8, begins: /(?:undefined reference to|multiple definition of|cannot find -l|undefined symbol)/ },
  // JavaScript and Java: NAMEError or NAMEException with its message.
  {
    weight: 8,
    begins:
      /^(?:\s*(?:Uncaught |Caused by: |Exception in thread "[^"]*" ))?(?:[A-Za-z_$][\w$]*\.)*[A-Z]\w*(?:Error|Exception)(?: \[\w+\])?(?:: |$)/,
    follow: 1,
    continues: /^\s+at /,
    onlyFailed: true,
  },
  // What a program tells of all its tests, or of the whole build.
  {
    weight: 6,
    begins:
      /^FAILED \((?:failures|errors)=|^=+ .{0,300}\b[1-9]\d* (?:failed|errors?)\b.{0,300} in [\d.]+s|^Test(?: Suite)?s: +[1-9]\d* failed|^\s+[1-9]\d* failing\b|^\d+ examples?, [1-9]\d* failures?/,
  },
  {
    weight: 6,
    begins:
      /^(?:#|ℹ) (?:fail|failed|FAIL:|ERROR:|FAIL) +[1-9]|^Result: FAIL$|^test result: FAILED|^FAIL(?:\t|$)|^\s*\d+% tests passed, [1-9]\d* tests? failed|^# Looks like you failed|\bTests run: \d+, (?:Failures: [1-9]|Failures: 0, Errors: [1-9])|^Tests: \d+, .{0,300}(?:Failures|Errors): [1-9]|✖ [1-9]\d* problems? \([1-9]/,
  },
  {
    weight: 6,
    begins:
      /\bBUILD FAIL(?:URE|ED)\b|^FAILURE: |^FAILED: \S|^ninja: build stopped|^CMake Error\b|^Build failed\b/,
  },
  // Tests: pytest, Go, TAP, Jest, Mocha, Cargo, GoogleTest, unittest.
  { weight: 7, begins: /^(?:FAILED |ERROR )\S+(?:::| - )/ },
  { weight: 7, begins: /^E {3}\S/, onlyFailed: true },
  { weight: 7, begins: /^\s*--- FAIL: /, follow: 2, continues: /^\s+\S+:\d+: / },
  { weight: 7, begins: /^\s*not ok \d+\b(?! .{0,300}# (?:TODO|SKIP))/i, follow: 1, continues: /^\s*#/ },
  { weight: 7, begins: /^\s*(?:✕|✗|✘|✖) \S/ },
  { weight: 7, begins: /^\s*(?:●|×) \S/, onlyFailed: true },
  { weight: 7, begins: /^test .{1,300} \.\.\. FAILED$/ },
  { weight: 7, begins: /^\[ {2}FAILED {2}\] \S/ },
  { weight: 7, begins: /^(?:FAIL|ERROR): \S/ },
  { weight: 7, begins: /(?:[Aa]ssertion .{0,300}failed|^\s*AssertionError\b|: Assertion )/ },
  // The shell and the kernel.
  {
    weight: 6,
    begins: /^(?:\S*\/)?(?:ba|da|a|z|k)?sh: (?:-c: )?(?:line )?\d+: |: command not found$|: cannot execute/,
  },
  {
    // Scripts look for files that may be missing, and say so.
    weight: 6,
    begins:
      /^(?:rm|ls|find|grep|du|stat|which|\S*configure): .{0,300}(?:: No such file or directory|: Permission denied|: not found)$/,
    onlyFailed: true,
  },
  {
    weight: 6,
    begins: /: not found$|: No such file or directory$|: Permission denied$|^\S+: can't open file /,
  },
  {
    weight: 6,
    begins: /(?:Segmentation fault|Bus error|Illegal instruction|core dumped|stack smashing detected)/,
  },
  {
    weight: 6,
    begins:
      /(?:No space left on device|[Oo]ut of memory|Cannot allocate memory|Read-only file system|Too many open files)/,
  },
  { weight: 6, begins: /^curl: \(\d+\) / },
  {
    weight: 6,
    begins:
      /(?:Could not resolve|Temporary failure (?:in name resolution|resolving)|Connection (?:refused|timed out)|unreachable)/,
    onlyFailed: true,
  },
  // Asked of a directory that need not be a repository, or have a tag.
  { weight: 5, begins: /^fatal: (?:not a git repository|No names found|no tag |No tags )/, onlyFailed: true },
  // Tools that name themselves.
  {
    weight: 5,
    begins: /^(?:npm (?:ERR!|error) |E: |fatal: |FATAL\b|CRITICAL\b|\[ERROR\] |ERROR[ :]|[Ee]rror: )/,
  },
  { weight: 3, begins: /^\S*make(?:\[\d+\])?: \*\*\* / },
  { weight: 3, begins: /^error: (?:test failed|could not compile|aborting due)/ },
];

/** Says that all is well, or repeats a command line, with any words in it. */
const HARMLESS =
  /\b(?:0 errors?|no errors?|(?<!Failures: [1-9]\d*, )errors?[:=] ?0)\b|\(ignored\)\s*$|\b0 fail(?:ed|ures?|ing)?\b(?!.{0,300}[1-9]\d{0,9} errors?)|^\s*(?:\+ )?(?:cc|gcc|g\+\+|clang\S*|rustc|javac|tsc) /i;

/** A word of each pattern. Most lines of a log have none, and to ask every pattern about them takes three times as long. */
const SPOKEN =
  /error|fail|exception|panic|fatal|traceback|not |no such|cannot|can't|denied|undefined|multiple|assert|sh: |[✕✗✘✖●×]|\.go:|fault|core |illegal|smashing|no space|memory|read-only|too many|resolv|connection|unreach|curl|npm|\*\*\*|critical|^E/i;

interface Block {
  readonly weight: number;
  readonly at: number;
  readonly lines: readonly TextLine[];
}

/**
 * At most `max` lines: whole blocks by weight, the earlier first, since later errors tend to follow from it.
 * @param hasFailed false for a command that ended with 0: then only what programs hardly print for another reason counts
 */
export function errorLines(lines: readonly TextLine[], max = 12, hasFailed = true): ErrorLines {
  return chosen(
    [...blocksOf(lines, hasFailed)].filter((block) => block !== null),
    max,
  );
}

/** The longest that it keeps the process from other work. */
const TURN_MS = 20;

/** The same, of more lines than should be looked at in one go: others get their turn in between. */
export async function errorLinesInTurns(
  lines: readonly TextLine[],
  max: number,
  hasFailed: boolean,
): Promise<ErrorLines> {
  const blocks: Block[] = [];
  let until = performance.now() + TURN_MS;
  for (const block of blocksOf(lines, hasFailed)) {
    if (block !== null) blocks.push(block);
    if (performance.now() < until) continue;
    await turn();
    until = performance.now() + TURN_MS;
  }
  return chosen(blocks, max);
}

function chosen(blocks: readonly Block[], max: number): ErrorLines {
  const kept: Block[] = [];
  const said = new Set<string>();
  let room = max;
  let more = 0;
  for (const block of blocks.toSorted((a, b) => b.weight - a.weight || a.at - b.at)) {
    const text = block.lines.map((line) => line.text.trim()).join('\n');
    if (said.has(text)) continue;
    said.add(text);
    if (block.lines.length > room) {
      more += block.lines.length;
      continue;
    }
    room -= block.lines.length;
    kept.push(block);
  }
  return { lines: kept.toSorted((a, b) => a.at - b.at).flatMap((block) => block.lines), more };
}

/** Yields null now and then where there is none, too. */
function* blocksOf(lines: readonly TextLine[], hasFailed: boolean): Generator<Block | null, void, void> {
  for (let at = 0; at < lines.length; at += 1) {
    if (at % LINES_AT_ONCE === 0) yield null;
    const line = lines[at];
    const text = endsOf(line?.text ?? '');
    if (!line || !SPOKEN.test(text) || HARMLESS.test(text)) continue;
    const pattern = PATTERNS.find(({ begins }) => begins.test(text));
    if (!pattern || (pattern.onlyFailed && !hasFailed)) continue;
    const rest = continuation(lines, at, pattern);
    const follow = pattern.follow ?? 0;
    const shown = pattern.keepEnd ? rest.slice(-follow) : rest.slice(0, follow);
    yield { weight: pattern.weight, at, lines: [line, ...shown] };
    at += pattern.keepEnd ? rest.length : shown.length;
  }
}

const LINES_AT_ONCE = 50;
/** Of a longer line its two ends are looked at, this much of each. */
const END_LENGTH = 2_000;

/** The two ends of a line, as one line: what a message of a program begins or ends with. */
export const endsOf = (text: string): string =>
  text.length <= 2 * END_LENGTH ? text : `${beginningOf(text, END_LENGTH)}…${endOf(text, END_LENGTH)}`;

/** A traceback may be long; nothing else is followed further than it is shown. */
const LONGEST_BLOCK = 400;

function continuation(
  lines: readonly TextLine[],
  at: number,
  { continues, follow, keepEnd }: Pattern,
): TextLine[] {
  const rest: TextLine[] = [];
  if (!continues) return rest;
  const most = keepEnd ? LONGEST_BLOCK : (follow ?? 0);
  for (const line of lines.slice(at + 1, at + 1 + most)) {
    if (!continues.test(endsOf(line.text))) break;
    rest.push(line);
    // What was raised ends it; the next traceback, of an exception while that one was handled, is a block of its own.
    if (keepEnd && !/^\s/.test(line.text)) break;
  }
  return rest;
}
