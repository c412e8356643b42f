/**
 * One TOML file for each device, equal to the byte where nothing has changed: keys in order, no state, no secret. TOML has no null: a table's
 * `unset` names the fields that are null, and a null within a list is `{ unset = true }`.
 */
import { parse, stringify, TomlError } from "smol-toml";
import type { Configuration } from "../configuration.ts";
import { at, isList, isObject } from "../json.ts";
import type { Json, JsonObject } from "../report.ts";
import { type Document, documentOf, type Fault, fileOf } from "./document.ts";

/** Characters of one file. */
export const TOML_MOST = 256 * 1024;
/** Nesting that anybody would write. */
const DEPTH = 24;

/** `unset` itself, where a device has such a name, has an underscore before it, and so on. */
const escaped = (name: string): string => (/^_*unset$/.test(name) ? `_${name}` : name);
const unescaped = (name: string): string => (/^_+unset$/.test(name) ? name.slice(1) : name);

const encoded = (value: Json, inList = false): Json => {
  if (value === null) return inList ? { unset: true } : value;
  if (typeof value === "string") return value.toWellFormed();
  if (isList(value)) return value.map((item) => encoded(item, true));
  return isObject(value) ? encodedTable(value) : value;
};

function encodedTable(table: JsonObject): JsonObject {
  const names = Object.keys(table).map((name) => name.toWellFormed());
  const unset = names.filter((name) => table[name] === null).sort();
  const fields = Object.entries(table).filter(([, value]) => value !== null);
  return Object.fromEntries<Json>([
    ...(unset.length === 0 ? [] : [["unset", unset] as const]),
    ...fields.map(([name, value]) => [escaped(name), encoded(value)] as const),
  ]);
}

const isNull = (value: Json): boolean => isObject(value) && value.unset === true && Object.keys(value).length === 1;

function decoded(value: Json): Json {
  if (isList(value)) return value.map((item) => (isNull(item) ? null : decoded(item)));
  if (!isObject(value)) return value;
  const { unset, ...fields } = value;
  const nulls = isList(unset) ? unset.filter((name): name is string => typeof name === "string") : [];
  return Object.fromEntries<Json>([
    ...Object.entries(fields).map(([name, inner]) => [unescaped(name), decoded(inner)] as const),
    ...nulls.map((name) => [name, null] as const),
  ]);
}

/** @returns with a line's end at its end */
export function tomlOf(document: Document): string {
  const text = stringify(encoded(fileOf(document)) as Record<string, unknown>);
  return text.endsWith("\n") ? text : `${text}\n`;
}

/**
 * @param known the device as it was last seen, by MAC
 * @returns the document, or what is wrong, each with its place
 */
export function documentFromToml(
  text: string,
  known: (mac: string) => Configuration | undefined = () => undefined,
): Document | { readonly faults: ReadonlyArray<Fault> } {
  if (text.length > TOML_MOST) {
    return {
      faults: [{ place: "", detail: `has ${text.length} characters`, fix: `A file has at most ${TOML_MOST}.` }],
    };
  }
  const table = parsed(text);
  if ("faults" in table) return table;
  const found = documentOf(decoded(table.value), known);
  if (!("faults" in found)) return found;
  return { faults: found.faults.map((fault) => ({ ...fault, ...lineOf(text, fault.place) })) };
}

/** What a text says of the device itself, unchecked: which one it is about. */
export function aboutInToml(text: string): JsonObject | undefined {
  const table = text.length > TOML_MOST ? undefined : parsed(text);
  const device = table !== undefined && "value" in table ? at(decoded(table.value), ["device"]) : undefined;
  return isObject(device) ? device : undefined;
}

function parsed(text: string): { readonly value: Json } | { readonly faults: ReadonlyArray<Fault> } {
  try {
    const value = parse(text, { maxDepth: DEPTH });
    // Dates are none of what a device knows: they stay what they were written as.
    return { value: JSON.parse(JSON.stringify(value)) };
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    const [detail] = error.message.replace(/^Invalid TOML document: /, "").split("\n");
    return { faults: [{ place: "", line: error.line, detail: detail ?? "is no TOML", fix: "Write TOML 1.0." }] };
  }
}

/** The first line with which a key is there. Texts over several lines are read to their end. */
function lineOf(text: string, place: string): { readonly line: number } | object {
  const lines = text.split("\n");
  const [component, ...rest] = place.split(".");
  const path = [component!, ...rest];
  const word = path.at(-1)!;
  for (const [index, line] of lines.entries()) {
    if (!line.includes(word) && !line.includes(JSON.stringify(word).slice(1, -1))) continue;
    const before = parsed(lines.slice(0, index + 1).join("\n"));
    if (!("faults" in before) && at(decoded(before.value), path) !== undefined) return { line: index + 1 };
  }
  return {};
}
