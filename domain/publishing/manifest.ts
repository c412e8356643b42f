/**
 * A flatpak-builder manifest, checked: every key known, every place inside the source, nothing fetched, nothing that opens the sandbox of the
 * build. What comes out is the manifest that is built, made anew from what was checked, with the files that it takes in put where they are
 * named: what was looked at is what is run.
 */
import { type Finding, type Json, MANIFEST_LIMITS as LIMITS, readManifestText, Unreadable } from "./manifest-text.ts";
import { type Built, ManifestWalk } from "./manifest-walk.ts";
import { parseFinishArguments, riskOf } from "./permissions.ts";

export interface Permission {
  /** In the words of `metadata`: `filesystems=home`. */
  readonly permission: string;
  readonly level?: "escape" | "wide" | "note";
  readonly why?: string;
}

export interface Manifest {
  readonly id: string;
  readonly kind: "app" | "runtime" | "extension";
  /** The branch that it names; undefined: the repository's or `master`. */
  readonly branch: string | undefined;
  /** `org.test.Platform` and `1`. */
  readonly runtime: string;
  readonly runtimeVersion: string;
  readonly sdk: string;
  readonly command: string | undefined;
  readonly permissions: ReadonlyArray<Permission>;
  readonly modules: ReadonlyArray<{
    readonly name: string;
    readonly buildsystem: string;
    readonly sources: ReadonlyArray<string>;
  }>;
  /** What must be installed to build it, architecture left open: `runtime/org.test.Sdk/any/1`. */
  readonly needs: ReadonlyArray<Needed>;
  /** Files of the source that it names, from the source's root. */
  readonly files: ReadonlyArray<string>;
  /** What flatpak-builder is given. Places are below `SOURCE_FOLDER`. */
  readonly build: { readonly [key: string]: Json };
}

export interface Needed {
  readonly kind: "runtime" | "app";
  readonly id: string;
  readonly branch: string;
}

export interface Checked {
  /** Undefined: it has errors. */
  readonly manifest: Manifest | undefined;
  readonly findings: ReadonlyArray<Finding>;
}

/** A file of the source as text, by its path from the root; undefined where there is none, or where it is no plain file. */
export type ReadSource = (path: string) => string | undefined;

export const ID = /^[A-Za-z_][A-Za-z0-9_-]*(\.[A-Za-z_][A-Za-z0-9_-]*){2,}$/;
export const BRANCH = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$/;

/** @param path of the manifest, from the source's root */
export function checkManifest(path: string, read: ReadSource): Checked {
  const walk = new ManifestWalk(read);
  let built: Built | undefined;
  try {
    const text = read(path);
    if (text === undefined) {
      throw new Unreadable("NO_MANIFEST", `There is no file ${path.slice(0, 200)}.`, "Name the manifest's file.");
    }
    built = walk.manifest(path, readManifestText(text, path));
  } catch (error) {
    if (!(error instanceof Unreadable)) throw error;
    walk.add(error.finding);
  }
  const manifest = built === undefined ? undefined : summary(built, walk);
  const { findings } = walk;
  return { manifest: findings.some(({ severity }) => severity === "error") ? undefined : manifest, findings };
}

function summary({ value, modules, files }: Built, walk: ManifestWalk): Manifest {
  const text = (key: string): string | undefined => {
    const is = value[key];
    return typeof is === "string" ? is : undefined;
  };
  const texts = (key: string) => (Array.isArray(value[key]) ? (value[key] as string[]) : []);
  const id = text("id") ?? "";
  const required = (key: string, name = key): string => {
    const is = text(key);
    if (is === undefined || is === "") {
      walk.error("KEY_MISSING", `/${name}`, `It has no "${name}".`, `Say "${name}".`);
      return "";
    }
    return is;
  };
  required("id");
  if (id !== "" && (!ID.test(id) || id.length > 255)) {
    const fix = 'Use a name of a domain of yours, turned round: "org.example.App".';
    walk.error("ID", "/id", `"${id.slice(0, 80)}" is no id of an application.`, fix);
  }
  const runtime = required("runtime");
  const sdk = required("sdk");
  for (const key of ["branch", "default-branch", "runtime-version", "base-version"]) {
    const is = text(key);
    if (is !== undefined && !BRANCH.test(is)) {
      walk.error("BRANCH", `/${key}`, `"${is.slice(0, 80)}" is no branch.`, "Use letters, digits, `.`, `-` and `_`.");
    }
  }
  const runtimeVersion = text("runtime-version") ?? "master";
  const isRuntime = value["build-runtime"] === true;
  const isExtension = value["build-extension"] === true;
  if (modules.length === 0 && !isRuntime) {
    walk.warn("NO_MODULES", "/modules", "It builds nothing: there are no modules.", "Add modules.");
  }
  if (!isRuntime && !isExtension && text("command") === undefined) {
    walk.warn("NO_COMMAND", "/command", "It says no command, so it cannot be started.", 'Say "command".');
  }
  return {
    id,
    kind: isExtension ? "extension" : isRuntime ? "runtime" : "app",
    branch: text("branch") ?? text("default-branch"),
    runtime,
    runtimeVersion,
    sdk,
    command: text("command"),
    permissions: permissions(texts("finish-args"), walk),
    modules,
    needs: needs(value, { runtime, sdk, runtimeVersion }, walk),
    files,
    build: value,
  };
}

function permissions(args: ReadonlyArray<string>, walk: ManifestWalk): Permission[] {
  const parsed = parseFinishArguments(args);
  for (const { at, message } of parsed.faults) {
    const fix = "Correct it (flatpak build-finish --help), or take it out.";
    walk.error("FINISH_ARGUMENT", `/finish-args/${at}`, message, fix);
  }
  return parsed.permissions.map((permission) => {
    const risk = riskOf(permission);
    if (risk === undefined) return { permission };
    if (risk.level !== "note") {
      const fix = risk.level === "escape" ? "Use a portal, or a narrower place." : "Ask for less, if less will do.";
      const code = risk.level === "escape" ? "PERMISSION_ESCAPES" : "PERMISSION_WIDE";
      walk.warn(code, "/finish-args", `${permission}: it ${risk.why}.`, fix);
    }
    return { permission, ...risk };
  });
}

interface Basis {
  readonly runtime: string;
  readonly sdk: string;
  readonly runtimeVersion: string;
}

function needs(
  value: { readonly [key: string]: Json },
  { runtime, sdk, runtimeVersion }: Basis,
  walk: ManifestWalk,
): Needed[] {
  const found: Needed[] = [];
  const add = (kind: Needed["kind"], name: string, branch: string, path: string) => {
    if (name === "") return;
    // Both may be written out: org.test.Sdk/x86_64/1.
    const [id, , own] = name.split("/");
    const need = { kind, id: id!, branch: own || branch };
    if (!ID.test(need.id) || !BRANCH.test(need.branch)) {
      walk.error("NEEDED", path, `"${name.slice(0, 80)}" is no name of a runtime.`, "Correct it.");
    } else if (!found.some((each) => each.kind === kind && each.id === need.id && each.branch === need.branch)) {
      found.push(need);
    }
  };
  add("runtime", runtime, runtimeVersion, "/runtime");
  add("runtime", sdk, runtimeVersion, "/sdk");
  if (typeof value.base === "string") {
    add("app", value.base, typeof value["base-version"] === "string" ? value["base-version"] : "master", "/base");
  }
  for (const key of ["sdk-extensions", "platform-extensions"]) {
    const names = value[key];
    if (!Array.isArray(names)) continue;
    for (const [index, name] of (names as string[]).entries()) add("runtime", name, runtimeVersion, `/${key}/${index}`);
  }
  if (found.length > LIMITS.files) {
    walk.error("TOO_MANY", "", `It needs more than ${LIMITS.files} runtimes and extensions.`, "Use fewer.");
  }
  return found;
}
