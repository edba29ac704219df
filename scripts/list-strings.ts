/**
 * Prints every text of the product that a person or an agent can meet: help, messages, errors, advice, descriptions of
 * tools and settings. Read it in one sitting, from time to time: `node scripts/list-strings.ts | less`. With names of
 * folders it prints those of them only: `node scripts/list-strings.ts src/cli src/doctor`.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import ts from 'typescript';

const ROOT = new URL('..', import.meta.url).pathname;
const FOLDERS = ['bin', 'src', 'api', 'queues', 'processors'];
/** Fewer words are names, keys and codes. */
const LEAST_WORDS = 3;

/** What is said to programs: queries, code that is handed on, messages of mistakes that only we can make. */
const isForPrograms = (text: string): boolean =>
  /^\s*(select|insert|update|delete|create|pragma|row_number|#!|import|local|set -)/i.test(text) ||
  /[;{}]\s*$/.test(text);

for (const folder of process.argv.length > 2 ? process.argv.slice(2) : FOLDERS) {
  const files = readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' });
  for (const name of files.sort()) if (name.endsWith('.ts')) print(join(ROOT, folder, name));
}

function print(path: string): void {
  const source = ts.createSourceFile(path, readFileSync(path, 'utf8'), ts.ScriptTarget.Latest, true);
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node)) return;
    const text = textOf(node);
    if (text !== null && text.split(/\s+/).length >= LEAST_WORDS && !isForPrograms(text)) {
      const { line } = source.getLineAndCharacterOfPosition(node.getStart());
      process.stdout.write(`${relative(ROOT, path)}:${line + 1}  ${text.replaceAll(/\s*\n\s*/g, ' ⏎ ')}\n`);
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
}

/** The text of a literal, `…` for what is filled in; null for what is none. */
function textOf(node: ts.Node): string | null {
  if (ts.isStringLiteral(node) || ts.isNoSubstitutionTemplateLiteral(node)) return node.text;
  if (!ts.isTemplateExpression(node)) return null;
  return node.head.text + node.templateSpans.map(({ literal }) => `…${literal.text}`).join('');
}
