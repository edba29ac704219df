import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'mocha';
import { assertTransition, isActive, isTerminal, JOB_STATES, TRANSITIONS } from '../../src/jobs/states.ts';

describe('states of a job', () => {
  it('are each either active or terminal', () => {
    for (const state of JOB_STATES) assert.notEqual(isActive(state), isTerminal(state), state);
  });

  it('never lead from an ended job back to an active one', () => {
    for (const from of JOB_STATES.filter(isTerminal)) {
      for (const to of TRANSITIONS[from]) assert.ok(isTerminal(to), `${from} → ${to}`);
    }
  });

  it('all lead to cleaned', () => {
    const reaches = (state: (typeof JOB_STATES)[number], seen = new Set<string>()): boolean =>
      state === 'cleaned' ||
      (!seen.has(state) && TRANSITIONS[state].some((next) => reaches(next, new Set([...seen, state]))));
    for (const state of JOB_STATES) assert.ok(reaches(state), state);
  });

  it('never let a cancelled job complete', () => {
    assert.throws(() => assertTransition('cancelled', 'completed'), /cancelled → completed/);
  });

  it('are drawn in docs/architecture.md exactly as the table has them', () => {
    const page = readFileSync(new URL('../../docs/architecture.md', import.meta.url), 'utf8');
    const diagram = /```mermaid\nstateDiagram-v2\n([\s\S]*?)```/.exec(page)?.[1] ?? '';
    const drawn = new Set(
      [...diagram.matchAll(/^\s*(\w+) --> (\w+)/gm)].map((match) => `${match[1]} → ${match[2]}`),
    );
    const held = new Set(JOB_STATES.flatMap((from) => TRANSITIONS[from].map((to) => `${from} → ${to}`)));
    assert.deepEqual([...drawn].sort(), [...held].sort());
  });
});
