/**
 * What a tree process can do: everything that reads trees or archives of jobs and callers. Each is loaded when it is
 * first asked for: a process mostly does one kind of work.
 */
import type { Operations } from './operation.ts';

export const OPERATIONS: Operations = {
  measure: async ({ path }) => (await import('../uploads/tree.ts')).measureTree(path),
  munge: async ({ path }) => (await import('../uploads/rsync/munged.ts')).mungeSymlinks(path),
  unpack: async (request, context) => (await import('../uploads/tar/unpack.ts')).unpack(request, context),
  seal: async (request) => (await import('../uploads/seal-tree.ts')).sealTree(request),
  remove: async ({ path }) => (await import('../trees/remove-tree.ts')).removeTree(path),
  collect: async ({ destination, request }, { signal }) =>
    (await import('../artifacts/collector.ts')).collectArtifacts(destination, { ...request, signal }),
};
