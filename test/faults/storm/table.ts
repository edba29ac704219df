/** The report of a storm as a table for people. */
import { KINDS, type Outage } from './upkeep.ts';
import type { StormReport } from './storm.ts';

const counts = (of: Readonly<Record<string, number>>): string =>
  Object.entries(of)
    .map(([name, count]) => `${count} ${name}`)
    .join(', ') || 'none';

const seconds = (ms: number): string => `${(ms / 1_000).toFixed(1)} s`;

function longest(outages: readonly Outage[]): string {
  return KINDS.map((kind) => {
    const all = outages.filter((outage) => outage.kind === kind).map((outage) => outage.ms);
    return `${kind} ${all.length === 0 ? '–' : seconds(Math.max(...all))}`;
  }).join(', ');
}

/** Two columns, one line each; ends with the violations. */
export function tableOf(report: StormReport, seed: number): string {
  const { kills, outages, lines, submissions } = report;
  const byItself = outages.filter((outage) => !outage.killed);
  const rows: [string, string][] = [
    ['seed', String(seed)],
    ['took', `${report.seconds.toFixed(0)} s`],
    ['kills', `${Object.values(kills).reduce((sum, count) => sum + count, 0)}: ${counts(kills)}`],
    [
      'ended by themselves',
      byItself.map((outage) => `${outage.name} (exit ${outage.exitCode})`).join(', ') || 'none',
    ],
    ['longest outage', longest(outages)],
    ['submissions', `${submissions.sent} sent, ${submissions.failed} of them failed and were repeated`],
    ['jobs', counts(report.states)],
    ['taken over', counts(report.takenOver)],
    ['requeued', String(report.requeued)],
    ['most at once', String(report.mostAtOnce)],
    ...report.peaks.map(({ host, cpus, ofCpus, memoryGb, ofMemoryGb }): [string, string] => [
      `peak of ${host}`,
      `${cpus} of ${ofCpus} cpus, ${memoryGb} of ${ofMemoryGb} GB`,
    ]),
    ['started more than once', String(report.duplicates)],
    ['log lines', `${lines.printed} printed, ${lines.lost} lost, ${lines.extra} too many`],
    ['violations', String(report.violations.length)],
  ];
  return [
    ...rows.map(([name, value]) => `  ${name.padEnd(24)}${value}`),
    ...report.violations.map((violation) => `  VIOLATION ${violation}`),
  ].join('\n');
}
