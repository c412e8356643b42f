/** Answers on stdout: a table for people, JSON, JSON lines or names for programs. */
import { type Io, oneLine } from "./io.ts";
import type { Format } from "./table.ts";

/** A column of a table; `value` gives text, or nothing. */
export interface Shown<Row> {
  readonly title: string;
  readonly value: (row: Row) => unknown;
}

export interface Style {
  readonly format: Format;
  readonly colour: boolean;
  readonly columns: number | undefined;
}

const cell = (value: unknown): string => {
  if (value === undefined || value === null) return "";
  if (Array.isArray(value)) return value.map(cell).join(", ");
  if (typeof value === "object") return oneLine(JSON.stringify(value));
  return oneLine(String(value));
};

const WIDE =
  /[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe4f\uff00-\uff60\uffe0-\uffe6]|\p{Emoji_Presentation}/u;

/** Columns a text takes in a terminal, near enough: wide East Asian characters and emoji take two. */
function widthOf(text: string): number {
  if (/^[ -~]*$/.test(text)) return text.length;
  let width = 0;
  for (const { segment } of new Intl.Segmenter().segment(text)) {
    width += WIDE.test(segment) ? 2 : 1;
  }
  return width;
}

const bold = (text: string, colour: boolean): string => (colour ? `\u001b[1m${text}\u001b[22m` : text);

/** Text in aligned columns; where the terminal is too narrow, the widest column is cut. */
export function table<Row>(
  rows: readonly Row[],
  shown: ReadonlyArray<Shown<Row>>,
  style: Omit<Style, "format">,
): string {
  const cells = rows.map((row) => shown.map(({ value }) => cell(value(row))));
  const widths = shown.map(({ title }, column) => Math.max(title.length, ...cells.map((row) => widthOf(row[column]!))));
  const gaps = 2 * (shown.length - 1);
  if (style.columns !== undefined) {
    let over = widths.reduce((sum, width) => sum + width, gaps) - style.columns;
    while (over > 0) {
      const widest = widths.indexOf(Math.max(...widths));
      if (widths[widest]! <= 12) break;
      const cut = Math.min(over, widths[widest]! - 12);
      widths[widest]! -= cut;
      over -= cut;
    }
  }
  const line = (texts: readonly string[]) =>
    texts
      .map((text, column) => fit(text, widths[column]!, column === texts.length - 1))
      .join("  ")
      .trimEnd();
  const head = bold(line(shown.map(({ title }) => title.toUpperCase())), style.colour);
  return `${[head, ...cells.map(line)].join("\n")}\n`;
}

function fit(text: string, width: number, last: boolean): string {
  const has = widthOf(text);
  if (has <= width) return last ? text : text + " ".repeat(width - has);
  let cut = "";
  let taken = 0;
  for (const { segment } of new Intl.Segmenter().segment(text)) {
    const wide = widthOf(segment);
    if (taken + wide > width - 1) break;
    cut += segment;
    taken += wide;
  }
  return `${cut}…${" ".repeat(Math.max(0, width - taken - 1))}`;
}

/** Prints a list. */
export async function printList<Row>(
  io: Io,
  style: Style,
  rows: readonly Row[],
  shown: ReadonlyArray<Shown<Row>>,
  nameOf: (row: Row) => string,
): Promise<void> {
  if (style.format === "json") return io.out(`${JSON.stringify(rows, null, 2)}\n`);
  if (style.format === "jsonl") return io.out(rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
  if (style.format === "name") return io.out(rows.map((row) => `${nameOf(row)}\n`).join(""));
  if (rows.length > 0) return io.out(table(rows, shown, style));
}

/** Prints one thing; for people as `people` says. */
export async function printOne<Entity>(
  io: Io,
  style: Style,
  entity: Entity,
  people: (entity: Entity) => string,
  nameOf: (entity: Entity) => string,
): Promise<void> {
  if (style.format === "json") return io.out(`${JSON.stringify(entity, null, 2)}\n`);
  if (style.format === "jsonl") return io.out(`${JSON.stringify(entity)}\n`);
  if (style.format === "name") return io.out(`${nameOf(entity)}\n`);
  return io.out(people(entity));
}

/** Terms and values for people, one a line; values that are not there are left out. */
export function facts(rows: ReadonlyArray<readonly [string, unknown]>): string {
  const said = rows.map(([term, value]) => [term, cell(value)] as const).filter(([, value]) => value !== "");
  const width = Math.max(0, ...said.map(([term]) => term.length)) + 2;
  return said.map(([term, value]) => `${term.padEnd(width)}${value}\n`).join("");
}

/** Any plain data for people, as indented lines: what has no table of its own. */
export function outline(value: unknown, depth = 0): string {
  const pad = "  ".repeat(depth);
  if (Array.isArray(value)) {
    return value
      .map((each) => (isTree(each) ? `${pad}-\n${outline(each, depth + 1)}` : `${pad}- ${cell(each)}\n`))
      .join("");
  }
  if (!isTree(value)) return `${pad}${cell(value)}\n`;
  return Object.entries(value as object)
    .filter(
      ([, each]) =>
        each !== undefined && each !== null && each !== "" && !(isTree(each) && Object.keys(each).length === 0),
    )
    .map(([key, each]) => {
      const flat = !isTree(each) || (Array.isArray(each) && each.every((part) => !isTree(part)));
      return flat ? `${pad}${oneLine(key)}: ${cell(each)}\n` : `${pad}${oneLine(key)}:\n${outline(each, depth + 1)}`;
    })
    .join("");
}

const isTree = (value: unknown): boolean => typeof value === "object" && value !== null;
