/** The walk through a manifest: key by key against the tables, with what is wrong said by its place, and the manifest made anew on the way. */
import { posix } from "node:path";
import { own } from "../own.ts";
import {
  BUILD_SYSTEMS,
  EXTENSION_KEYS,
  FETCHED_TYPES,
  MODULE_KEYS,
  meant,
  OPTIONS_KEYS,
  SOURCE_KEYS,
  type Takes,
  TOP_KEYS,
} from "./manifest-keys.ts";
import { type Finding, type Json, MANIFEST_LIMITS as LIMITS, readManifestText, Unreadable } from "./manifest-text.ts";

type Fields = { readonly [key: string]: Json };

export interface Built {
  readonly value: Fields;
  readonly modules: ReadonlyArray<{ name: string; buildsystem: string; sources: ReadonlyArray<string> }>;
  readonly files: ReadonlyArray<string>;
}

/** Where a value stands: its pointer, and the file that it is in. */
interface Place {
  readonly at: string;
  /** From the source's root; places in it are meant from its folder. */
  readonly file: string;
  readonly depth: number;
}

/** Beside the manifest that is built lies the source, in a folder of this name. */
export const SOURCE_FOLDER = "source";
/** What patch and git may be told of a patch: nothing that names a file. */
const PATCH_OPTION = /^(-[lNR]|-F ?\d+|--(fuzz=\d+|ignore-whitespace|binary|forward|reverse|whitespace=[a-z-]+|3way))$/;

const isFields = (value: Json): value is Fields => typeof value === "object" && value !== null && !Array.isArray(value);
const kindOf = (value: Json): string => (Array.isArray(value) ? "a list" : value === null ? "nothing" : typeof value);
const pointed = (key: string | number) => `/${String(key).slice(0, 80).replaceAll("~", "~0").replaceAll("/", "~1")}`;

export class ManifestWalk {
  readonly #read: (path: string) => string | undefined;
  readonly #findings: Finding[] = [];
  readonly #modules: { name: string; buildsystem: string; sources: string[] }[] = [];
  readonly #files = new Set<string>();
  #main = "";
  #taken = 0;

  constructor(read: (path: string) => string | undefined) {
    this.#read = read;
  }

  get findings(): ReadonlyArray<Finding> {
    return this.#findings;
  }

  add(finding: Finding): void {
    if (this.#findings.length < LIMITS.findings) this.#findings.push(finding);
  }

  error(code: string, path: string, message: string, fix: string): undefined {
    this.add({ severity: "error", code, path, message, fix });
  }

  warn(code: string, path: string, message: string, fix: string): undefined {
    this.add({ severity: "warning", code, path, message, fix });
  }

  #say(severity: Finding["severity"], code: string, { at, file }: Place, message: string, fix: string): undefined {
    this.add({ severity, code, path: at, message, fix, ...(file === this.#main ? {} : { file }) });
  }

  manifest(file: string, value: Json): Built | undefined {
    this.#main = file;
    this.#taken = 1;
    const place = { at: "", file, depth: 0 };
    if (!isFields(value)) {
      return this.#say("error", "NOT_A_MANIFEST", place, `It is ${kindOf(value)}, not a manifest.`, "Begin it with {.");
    }
    const { "app-id": old, ...rest } = value;
    const named = old !== undefined && rest.id === undefined ? { id: old, ...rest } : rest;
    const made = this.#fields(named, TOP_KEYS, place);
    return { value: made, modules: this.#modules, files: [...this.#files].sort() };
  }

  /** What the table knows of it, checked; what it does not know is said and left out. */
  #fields(value: Fields, table: Readonly<Record<string, Takes>>, place: Place): Fields {
    const made: [string, Json][] = [];
    for (const [key, is] of Object.entries(value)) {
      if (key.startsWith("x-") || key.startsWith("//") || key === "$schema") continue;
      const here = { ...place, at: place.at + pointed(key) };
      const takes = own(table, key);
      if (takes === undefined) {
        const other = meant(key, Object.keys(table));
        const fix = other === undefined ? "Correct it, or take it out." : `"${other}" may be meant.`;
        this.#say("warning", "UNKNOWN_KEY", here, `"${key.slice(0, 80)}" is no key here; it is left out.`, fix);
        continue;
      }
      const taken = this.#value(is, takes, here);
      if (taken !== undefined) made.push([key, taken]);
    }
    return Object.fromEntries(made);
  }

  #wrong(is: Json, wanted: string, place: Place): undefined {
    return this.#say("error", "WRONG_TYPE", place, `It is ${kindOf(is)}, not ${wanted}.`, `Make it ${wanted}.`);
  }

  #value(is: Json, takes: Takes, place: Place): Json | undefined {
    switch (takes) {
      case "text":
        return this.#text(is, place);
      case "flag":
        return typeof is === "boolean" ? is : this.#wrong(is, "true or false", place);
      case "whole":
        return Number.isInteger(is) ? is : this.#wrong(is, "a whole number", place);
      case "texts":
        return this.#list(is, place, (item, at) => this.#text(item, at));
      case "name":
        return this.#name(is, place);
      case "place":
        return this.#place(is, place);
      case "places":
        return this.#list(is, place, (item, at) => this.#place(item, at));
      case "environment":
        return this.#environment(is, place);
      case "options":
        return isFields(is) ? this.#fields(is, OPTIONS_KEYS, place) : this.#wrong(is, "an object", place);
      case "optionsByArch":
        return this.#named(is, place, (item, at) => this.#value(item, "options", at));
      case "extensions":
        return this.#named(is, place, (item, at) =>
          isFields(item) ? this.#fields(item, EXTENSION_KEYS, at) : this.#wrong(item, "an object", at),
        );
      case "modules":
        return this.#list(is, place, (item, at) => this.#module(item, at));
      case "sources":
        return this.#sources(is, place);
      case "refused":
        return this.#refused(place);
    }
  }

  #refused(place: Place): undefined {
    const key = place.at.split("/").at(-1)!;
    const [code, message, fix] = key.startsWith("secret-")
      ? ["SECRETS", "It would take secrets out of the publisher's environment.", "Take it out."]
      : /args$/.test(key)
        ? ["BUILD_ARGS", `"${key}" opens the sandbox in which it is built.`, "Take it out: builds have no network."]
        : ["FETCHED", "It would be fetched, and builds have no network.", 'Put the file beside the manifest: "path".'];
    return this.#say("error", code!, place, message!, fix!);
  }

  #text(is: Json, place: Place): string | undefined {
    if (typeof is === "number") return String(is);
    if (typeof is !== "string") return this.#wrong(is, "text", place);
    if (is.includes("\0")) return this.#say("error", "NOT_TEXT", place, "It holds a zero.", "Take it out.");
    return is;
  }

  /** A path inside where it goes: no way leads out of there. */
  #name(is: Json, place: Place): string | undefined {
    const text = this.#text(is, place);
    if (text === undefined) return undefined;
    if (leadsOut(text) || /[\p{Cc}]/u.test(text)) {
      const fix = "Name a place inside, without `..` and not from the root.";
      return this.#say("error", "LEADS_OUT", place, `"${text.slice(0, 80)}" leads out.`, fix);
    }
    return text;
  }

  /** A file or folder of the source: from the file that names it. */
  #place(is: Json, place: Place): string | undefined {
    const path = this.#inside(is, place);
    if (path === undefined) return undefined;
    this.#files.add(path);
    return `${SOURCE_FOLDER}/${path}`;
  }

  /** @returns from the source's root */
  #inside(is: Json, place: Place): string | undefined {
    const text = this.#text(is, place);
    if (text === undefined) return undefined;
    const path = posix.normalize(posix.join(posix.dirname(place.file), text));
    // From the root of the disk, or above the source: what lies there is nobody's business.
    if (text === "" || text.startsWith("/") || /[\p{Cc}]/u.test(text) || path === ".." || path.startsWith("../")) {
      const message = `"${text.slice(0, 80)}" is not inside the source.`;
      return this.#say(
        "error",
        "SOURCE_OUTSIDE",
        place,
        message,
        "Put it beside the manifest, and name it from there.",
      );
    }
    return path;
  }

  #list(is: Json, place: Place, each: (item: Json, place: Place) => Json | undefined): Json[] | undefined {
    // flatpak-builder takes one where it takes many.
    const items = typeof is === "string" ? [is] : is;
    if (!Array.isArray(items)) return this.#wrong(is, "a list", place);
    return (items as ReadonlyArray<Json>).flatMap((item, index) => {
      const taken = each(item, { ...place, at: place.at + pointed(index) });
      return taken === undefined ? [] : [taken];
    });
  }

  #named(is: Json, place: Place, each: (item: Json, place: Place) => Json | undefined): Fields | undefined {
    if (!isFields(is)) return this.#wrong(is, "an object", place);
    const made = Object.entries(is).flatMap(([name, item]): [string, Json][] => {
      const taken = each(item, { ...place, at: place.at + pointed(name) });
      return taken === undefined ? [] : [[name, taken]];
    });
    return Object.fromEntries(made);
  }

  #environment(is: Json, place: Place): Fields | undefined {
    const pairs = Array.isArray(is)
      ? Object.fromEntries((is as ReadonlyArray<Json>).map((item) => String(item).split(/=(.*)/s, 2)))
      : is;
    return this.#named(pairs as Json, place, (item, at) => this.#text(item, at));
  }

  /** Another file that stands here, read once more for each time that it is named. */
  #included(is: string, place: Place): { readonly value: Json; readonly place: Place } | undefined {
    const path = this.#inside(is, place);
    if (path === undefined) return undefined;
    if (++this.#taken > LIMITS.files || place.depth >= 10) {
      return this.#say("error", "TOO_MANY", place, `It takes in more than ${LIMITS.files} files.`, "Take in fewer.");
    }
    const text = this.#read(path);
    if (text === undefined) {
      return this.#say(
        "error",
        "FILE_MISSING",
        place,
        `There is no file ${path.slice(0, 200)}.`,
        "Add it, or correct it.",
      );
    }
    const there = { at: "", file: path, depth: place.depth + 1 };
    try {
      return { value: readManifestText(text, path), place: there };
    } catch (error) {
      if (!(error instanceof Unreadable)) throw error;
      const { code, message, fix, severity } = error.finding;
      return this.#say(severity, code, there, message, fix);
    }
  }

  #module(is: Json, place: Place): Json | undefined {
    if (typeof is === "string") {
      const file = this.#included(is, place);
      return file === undefined ? undefined : this.#module(file.value, file.place);
    }
    if (!isFields(is)) return this.#wrong(is, "a module, or the name of a file with one", place);
    if (this.#modules.length >= LIMITS.modules) {
      return this.#say(
        "error",
        "TOO_MANY",
        place,
        `It has more than ${LIMITS.modules} modules.`,
        "Build less at once.",
      );
    }
    const buildsystem = typeof is.buildsystem === "string" ? is.buildsystem : is.cmake === true ? "cmake" : "autotools";
    const module = { name: typeof is.name === "string" ? is.name : "", buildsystem, sources: [] as string[] };
    this.#modules.push(module);
    if (module.name === "" || module.name.includes("/")) {
      const fix = 'Give it a "name" without `/`.';
      this.#say("error", "MODULE_NAME", { ...place, at: `${place.at}/name` }, "The module has no name.", fix);
    }
    if (!BUILD_SYSTEMS.includes(buildsystem)) {
      const message = `"${buildsystem.slice(0, 80)}" is no build system.`;
      const fix = `Use one of ${BUILD_SYSTEMS.join(", ")}.`;
      this.#say("error", "BUILD_SYSTEM", { ...place, at: `${place.at}/buildsystem` }, message, fix);
    }
    const made = this.#fields(is, MODULE_KEYS, place);
    const sources = Array.isArray(made.sources) ? (made.sources as ReadonlyArray<Fields>) : [];
    module.sources.push(...sources.map(({ type }) => String(type)));
    return made;
  }

  #sources(is: Json, place: Place): Json[] | undefined {
    if (!Array.isArray(is)) return this.#wrong(is, "a list", place);
    return (is as ReadonlyArray<Json>).flatMap((item, index) => {
      const here = { ...place, at: place.at + pointed(index) };
      if (typeof item !== "string") return this.#source(item, here) ?? [];
      const file = this.#included(item, here);
      if (file === undefined) return [];
      // One, or a list of them.
      return Array.isArray(file.value)
        ? (this.#sources(file.value, file.place) ?? [])
        : (this.#source(file.value, file.place) ?? []);
    });
  }

  #source(is: Json, place: Place): Fields | undefined {
    if (!isFields(is)) return this.#wrong(is, "a source", place);
    const { type } = is;
    const table = typeof type === "string" ? own(SOURCE_KEYS, type) : undefined;
    if (table === undefined) {
      const fix = `Use one of ${Object.keys(SOURCE_KEYS).join(", ")}.`;
      const message = type === undefined ? "The source has no type." : `"${String(type).slice(0, 80)}" is no type.`;
      return this.#say("error", "SOURCE_TYPE", { ...place, at: `${place.at}/type` }, message, fix);
    }
    if (FETCHED_TYPES.includes(type as string)) {
      const message = `A source of type ${type} would be fetched, and builds have no network.`;
      return this.#say("error", "FETCHED", place, message, 'Put its files into the source: type "dir" or "archive".');
    }
    const made = this.#fields(is, table, place);
    this.#checkPatch(made, place);
    const needed = { archive: "path", file: "path", dir: "path", script: "commands", shell: "commands" }[
      type as string
    ];
    if (needed !== undefined && made[needed] === undefined && is[needed] === undefined && is.url === undefined) {
      const message = `A source of type ${type} needs "${needed}".`;
      return this.#say("error", "KEY_MISSING", place, message, `Say "${needed}".`);
    }
    return made;
  }

  #checkPatch(made: Fields, place: Place): void {
    if (made.type !== "patch" || !Array.isArray(made.options)) return;
    for (const [index, option] of (made.options as string[]).entries()) {
      if (PATCH_OPTION.test(option)) continue;
      const here = { ...place, at: `${place.at}/options/${index}` };
      const fix = "Take it out: what names files is not taken.";
      this.#say("error", "PATCH_OPTION", here, `"${option.slice(0, 80)}" is no option that a patch may have.`, fix);
    }
  }
}

/** From the root, or with `..` in it anywhere. */
function leadsOut(path: string): boolean {
  return path.startsWith("/") || path.split("/").includes("..");
}
