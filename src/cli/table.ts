import { widthOf } from './width.ts';

export interface Column {
  readonly title: string;
  readonly right?: boolean;
}

/** Lines of a table without borders; cells must be sanitised already. `paint` colours a cell after it is padded. */
export function table(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  paint: (cell: string, column: number, row: number) => string = (cell) => cell,
): string[] {
  const widths = columns.map(({ title }, at) =>
    Math.max(widthOf(title), ...rows.map((row) => widthOf(row[at] ?? ''))),
  );
  const last = columns.length - 1;
  const pad = (cell: string, at: number): string => {
    const space = ' '.repeat((widths[at] ?? 0) - widthOf(cell));
    if (columns[at]?.right) return space + cell;
    return at === last ? cell : cell + space;
  };
  const header = columns
    .map(({ title }, at) => pad(title, at))
    .join('  ')
    .trimEnd();
  return [
    header,
    ...rows.map((row, index) =>
      columns
        .map((_, at) => paint(pad(row[at] ?? '', at), at, index))
        .join('  ')
        .trimEnd(),
    ),
  ];
}
