/**
 * Takes each guard out of a copy of the tree and demands that its test fails then, and passes with it.
 * `node test/faults/guards/run.ts [WORD…]`: those whose marker or promise has the words, or all of them. Exit status 1 when one guards nothing.
 */
import type { Guard } from './guard.ts';
import { GUARDS } from './list.ts';
import { copyTree, runTest, without } from './trial.ts';

const words = process.argv.slice(2);
const nameOf = ({ marker, promise }: Guard): string => `${marker}: ${promise}`;
const chosen = GUARDS.filter((guard) => words.every((word) => nameOf(guard).includes(word)));
if (chosen.length === 0) {
  const names = GUARDS.map((guard) => `  ${nameOf(guard)}\n`).join('');
  process.stderr.write(`no guard has ${words.join(' and ')} in its name:\n${names}`);
  process.exit(2);
}
const tree = await copyTree();
let useless = 0;
try {
  process.stdout.write(
    '| guard | the test that fails without it | with | without | s |\n|---|---|---|---|---|\n',
  );
  for (const guard of chosen) {
    const began = performance.now();
    const intact = await runTest(guard, tree.path);
    const broken = await without(guard, tree.path, () => runTest(guard, tree.path));
    const seconds = Math.round((performance.now() - began) / 1000);
    const cells = [
      nameOf(guard),
      `${guard.spec}: ${guard.test}`,
      intact.passed ? 'passes' : 'FAILS',
      broken.passed ? 'PASSES' : 'fails',
      seconds,
    ];
    process.stdout.write(`| ${cells.join(' | ')} |\n`);
    if (intact.passed && !broken.passed) continue;
    useless += 1;
    process.stderr.write(`${nameOf(guard)}\n${(intact.passed ? broken : intact).output.slice(-4_000)}\n`);
  }
} finally {
  await tree.remove();
}
process.exitCode = useless === 0 ? 0 : 1;
