/**
 * The text of a manifest, JSON with comments or YAML, as plain data. Read by our own bounds before anything is made of it: bytes, depth,
 * the count of values once aliases are followed. Numbers that would lose something stay text: a version 1.10 is no 1.1.
 */
import { type Alias, Composer, isAlias, isMap, isScalar, isSeq, LineCounter, type Node, Parser, Scalar } from "yaml";

export type Json = null | boolean | number | string | ReadonlyArray<Json> | { readonly [key: string]: Json };

export const MANIFEST_LIMITS = {
  /** Of one file in JSON; lists of sources that tools write are long. */
  jsonBytes: 4 * 1024 * 1024,
  yamlBytes: 256 * 1024,
  depth: 64,
  /** Of one file, each alias counted as what it stands for. */
  values: 200_000,
  /** Files that a manifest takes in, itself counted. */
  files: 50,
  modules: 1_000,
  findings: 200,
} as const;

export interface Finding {
  /** `error`: it is not built; `warning`: it is, and it may not be what was meant; `note`: to know. */
  readonly severity: "error" | "warning" | "note";
  /** Stable, in capitals: `SOURCE_OUTSIDE`. */
  readonly code: string;
  /** A pointer into the manifest, `/modules/0/sources/1/path`; empty: the whole. */
  readonly path: string;
  readonly message: string;
  readonly fix: string;
  /** The file, where it is another than the manifest. */
  readonly file?: string;
}

/** A text that cannot be read as what it should be. */
export class Unreadable extends Error {
  override readonly name = "Unreadable";
  readonly finding: Finding;

  constructor(code: string, message: string, fix: string, path = "") {
    super(message);
    this.finding = { severity: "error", code, path, message, fix };
  }
}

/** By its name: `.yml` and `.yaml` are YAML, all else is JSON. @throws Unreadable */
export function readManifestText(text: string, name: string): Json {
  const isYaml = /\.ya?ml$/i.test(name);
  const most = isYaml ? MANIFEST_LIMITS.yamlBytes : MANIFEST_LIMITS.jsonBytes;
  if (text.length > most) {
    throw new Unreadable("TOO_LARGE", `It is longer than ${most} bytes.`, "Take parts out into files of their own.");
  }
  if (text.includes("\ufffd") || text.includes("\0")) {
    throw new Unreadable("NOT_TEXT", "It is no text in UTF-8.", "Save it as UTF-8.");
  }
  return isYaml ? readYaml(text.replace(/^\ufeff/, "")) : readJson(text.replace(/^\ufeff/, ""));
}

const tooDeep = () =>
  new Unreadable("TOO_DEEP", `It is nested deeper than ${MANIFEST_LIMITS.depth}.`, "Nest modules less.");
const tooMany = () =>
  new Unreadable("TOO_MANY", `It has more than ${MANIFEST_LIMITS.values} values.`, "Leave aliases out, or split it.");
const twice = (key: string, where: string) =>
  new Unreadable("KEY_TWICE", `The key "${key.slice(0, 80)}" is there twice (${where}).`, "Leave one of them out.");

const lineOf = (text: string, at: number): string => {
  const before = text.slice(0, at).split("\n");
  return `line ${before.length}, column ${before.at(-1)!.length + 1}`;
};

/** @throws Unreadable */
function readJson(text: string): Json {
  const plain = withoutComments(text);
  try {
    return JSON.parse(plain, exact) as Json;
  } catch (error) {
    if (error instanceof Unreadable) throw error;
    const said = (error as Error).message.replaceAll(/\s+/g, " ");
    const at = /position (\d+)/.exec(said)?.[1];
    const where = at === undefined ? "" : ` (${lineOf(text, Number(at))})`;
    throw new Unreadable("NOT_JSON", `It is no JSON${where}: ${said.slice(0, 160)}.`, "Correct it there.");
  }
}

/** A number whose text says more than its value stays text. */
function exact(_key: string, value: unknown, context?: { readonly source?: string }): unknown {
  if (typeof value !== "number" || context?.source === undefined) return value;
  return String(value) === context.source ? value : context.source;
}

/**
 * The same with blanks for comments, so that places stay. On the way the depth, the count of values and keys that are there twice are
 * looked at, with a stack of our own.
 * @throws Unreadable
 */
function withoutComments(text: string): string {
  const parts: string[] = [];
  const open: (Set<string> | undefined)[] = [];
  let from = 0;
  let values = 0;
  let isKey = false;
  const blank = (at: number, to: number) => {
    parts.push(text.slice(from, at), text.slice(at, to).replaceAll(/[^\n]/g, " "));
    from = to;
  };
  for (let at = 0; at < text.length; at++) {
    switch (text[at]) {
      case '"': {
        const start = at;
        for (at++; at < text.length && text[at] !== '"' && text[at] !== "\n"; at++) if (text[at] === "\\") at++;
        const keys = open.at(-1);
        if (!isKey || keys === undefined) break;
        const key = text.slice(start + 1, at);
        if (keys.has(key)) throw twice(key, lineOf(text, start));
        keys.add(key);
        isKey = false;
        break;
      }
      case "/": {
        const end = text[at + 1] === "/" ? "\n" : text[at + 1] === "*" ? "*/" : undefined;
        if (end === undefined) break;
        const found = text.indexOf(end, at + 2);
        const to = found === -1 ? text.length : end === "\n" ? found : found + 2;
        blank(at, to);
        at = to - 1;
        break;
      }
      case "{":
      case "[":
        isKey = text[at] === "{";
        open.push(isKey ? new Set() : undefined);
        if (open.length > MANIFEST_LIMITS.depth) throw tooDeep();
        break;
      case "}":
      case "]":
        open.pop();
        isKey = false;
        break;
      case ",":
        if (++values > MANIFEST_LIMITS.values) throw tooMany();
        isKey = open.at(-1) !== undefined;
        break;
    }
  }
  parts.push(text.slice(from));
  return parts.join("");
}

/** @throws Unreadable */
function readYaml(text: string): Json {
  const lines = new LineCounter();
  if (deepest(text) > DEPTH_GUESSED) throw tooDeep();
  const composer = new Composer({ uniqueKeys: false, version: "1.2", schema: "core", lineCounter: lines });
  let content: Node | null = null;
  let count = 0;
  for (const document of composer.compose(new Parser(lines.addNewLine).parse(text))) {
    const [error] = document.errors;
    if (error !== undefined) {
      const said = error.message.split("\n")[0]!.slice(0, 160);
      throw new Unreadable("NOT_YAML", `It is no YAML (${where(lines, error.pos[0])}): ${said}.`, "Correct it there.");
    }
    if (++count > 1) {
      throw new Unreadable("TWO_DOCUMENTS", "It holds more than one document.", "Leave one in it.");
    }
    content = document.contents as Node | null;
  }
  return new YamlValues(lines).of(content, 0);
}

const where = (lines: LineCounter, at: number): string => {
  const { line, col } = lines.linePos(at);
  return `line ${line}, column ${col}`;
};

/** A guess, for texts may hold brackets too; what is deeper than this makes a parser that calls itself slow. */
const DEPTH_GUESSED = 4 * MANIFEST_LIMITS.depth;

/** How deep it may be at most, by its dashes in one line, its brackets, and its columns. */
function deepest(text: string): number {
  let depth = 0;
  let brackets = 0;
  for (const line of text.split("\n")) {
    const dashes = /^(?:\s*[-?]\s)+/.exec(line)?.[0].replaceAll(/[^-?]/g, "").length ?? 0;
    const opened = line.match(/[[{]/g)?.length ?? 0;
    brackets = Math.max(0, brackets + opened);
    depth = Math.max(depth, dashes, brackets);
    brackets -= line.match(/[\]}]/g)?.length ?? 0;
  }
  return depth;
}

/** YAML's nodes as plain data: what flatpak-builder takes for a value, and every alias as a copy, counted. */
class YamlValues {
  readonly #anchors = new Map<string, Node>();
  readonly #lines: LineCounter;
  #values = 0;

  constructor(lines: LineCounter) {
    this.#lines = lines;
  }

  #where = (node: Node) => where(this.#lines, node.range?.[0] ?? 0);

  of(node: Node | null, depth: number): Json {
    if (depth > MANIFEST_LIMITS.depth) throw tooDeep();
    if (++this.#values > MANIFEST_LIMITS.values) throw tooMany();
    if (node === null) return null;
    if (isAlias(node)) return this.#alias(node, depth);
    const { anchor, tag } = node as { anchor?: string; tag?: string };
    if (tag?.startsWith("!") === true && isScalar(node)) {
      throw new Unreadable("YAML_TAG", `It has a tag ${tag.slice(0, 60)}, which means nothing here.`, "Leave it out.");
    }
    if (anchor !== undefined) this.#anchors.set(anchor, node);
    if (isSeq(node)) return node.items.map((item) => this.of(item as Node | null, depth + 1));
    if (isMap(node)) {
      const entries = new Map<string, Json>();
      for (const { key, value } of node.items) {
        const name = this.#key(key as Node | null);
        if (entries.has(name)) throw twice(name, this.#where(node));
        entries.set(name, this.of(value as Node | null, depth + 1));
      }
      return Object.fromEntries(entries);
    }
    return isScalar(node) ? scalarOf(node) : null;
  }

  #alias(node: Alias, depth: number): Json {
    const meant = this.#anchors.get(node.source);
    if (meant === undefined) {
      const name = node.source.slice(0, 60);
      throw new Unreadable("YAML_ALIAS", `The alias *${name} stands for nothing above it.`, "Give its anchor first.");
    }
    return this.of(meant, depth + 1);
  }

  #key(key: Node | null): string {
    const meant = isAlias(key) ? this.#anchors.get(key.source) : key;
    if (!isScalar(meant)) throw new Unreadable("YAML_KEY", "A key is no text.", "Use plain words as keys.");
    return meant.source ?? String(meant.value);
  }
}

/** As flatpak-builder has it: only plain `true`, `false`, `null` and whole numbers are more than text. */
function scalarOf(node: Scalar): Json {
  const { type, value } = node;
  const source = node.source ?? "";
  if (type !== Scalar.PLAIN && type !== undefined) return typeof value === "string" ? value : source;
  if (source === "true") return true;
  if (source === "false") return false;
  if (source === "null" || source === "") return null;
  return /^-?(0|[1-9]\d{0,14})$/.test(source) ? Number(source) : source;
}
