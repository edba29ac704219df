/** Words that a shell treats as syntax where a command may begin (POSIX.1-2024, XCU 2.4), and those of bash. */
const RESERVED =
  /^(?:if|then|else|elif|fi|do|done|case|esac|while|until|for|in|function|select|time|coproc)$/;

/**
 * What the user typed after `--` as one command for a shell. One argument is a shell command as it is;
 * several are words, and the command gets exactly those words.
 */
export function shellCommand(args: readonly string[]): string {
  const [first, ...rest] = args;
  if (first === undefined) return '';
  if (rest.length === 0) return first;
  // In the first place NAME=value would be an assignment and a reserved word would be syntax.
  const head = first.includes('=') || RESERVED.test(first) ? quoted(first) : shellWord(first);
  return [head, ...rest.map(shellWord)].join(' ');
}

const shellWord = (word: string): string => (/^[A-Za-z0-9_/:=.,@%+-]+$/.test(word) ? word : quoted(word));

const quoted = (word: string): string => `'${word.replaceAll("'", `'\\''`)}'`;
