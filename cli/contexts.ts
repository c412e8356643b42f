/**
 * Contexts: named places to talk to, and which is selected; `contexts.json` under the XDG config folder, 0600.
 * The file holds no token: those lie in the keyring, in a file of their own, or (of an installation on this machine) in
 * its data folder.
 */
import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { Failure, usage } from "./failure.ts";
import type { Io } from "./io.ts";
import { suggestions } from "./suggest.ts";
import { EXIT } from "./table.ts";

export interface Context {
  /** Address of the gateway; of an installation on this machine the last one known. */
  readonly url: string;
  /** Organisation used when none is named. */
  readonly org?: string;
  /** Data folder of an installation on this machine: the port of now is found there. */
  readonly data?: string;
  /** File with the owner's token of an installation on this machine; used while no other token was given. */
  readonly ownerTokenFile?: string;
  /** Where a token that was given by `mill login` is. */
  readonly token?: "keyring" | "file";
}

export interface Contexts {
  readonly selected?: string;
  readonly contexts: Readonly<Record<string, Context>>;
}

const NAME = /^[a-z0-9][a-z0-9._-]{0,62}$/;

type Env = Io["env"];

/** Folder of mill's own configuration. */
export function configFolder(env: Env): string {
  const base = env.XDG_CONFIG_HOME;
  return join(base?.startsWith("/") ? base : join(env.HOME ?? homedir(), ".config"), "millrace");
}

export function readContexts(env: Env): Contexts {
  const file = join(configFolder(env), "contexts.json");
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return { contexts: {} };
    throw error;
  }
  try {
    const read = JSON.parse(text) as Contexts;
    if (typeof read.contexts === "object" && read.contexts !== null) return read;
  } catch {
    // told below
  }
  throw new Failure("config", EXIT.failure, `${file} cannot be read as JSON`, {
    fix: `Mend it, or move it away and add the contexts again: mv ${file} ${file}.broken`,
  });
}

/** Replaced as a whole, so that a reader never sees half of it. */
export function writePrivate(file: string, text: string): void {
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  const making = `${file}.${process.pid}`;
  const descriptor = openSync(making, "w", 0o600);
  try {
    writeSync(descriptor, text);
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
  renameSync(making, file);
}

export function writeContexts(env: Env, contexts: Contexts): void {
  writePrivate(join(configFolder(env), "contexts.json"), `${JSON.stringify(contexts, null, 2)}\n`);
}

/** Adds or replaces one. The first there is becomes the selected. */
export function saveContext(env: Env, name: string, context: Context, select = false): Contexts {
  if (!NAME.test(name)) {
    throw usage(`"${name}" is no name for a context`, "Lower-case letters, digits, dots, hyphens; at most 63");
  }
  const now = readContexts(env);
  const selected = select || now.selected === undefined ? name : now.selected;
  const saved = { selected, contexts: { ...now.contexts, [name]: context } };
  writeContexts(env, saved);
  return saved;
}

export function removeContext(env: Env, name: string): void {
  const { selected, contexts } = readContexts(env);
  contextNamed(contexts, name);
  const { [name]: _, ...rest } = contexts;
  writeContexts(env, { ...(selected !== undefined && selected !== name ? { selected } : {}), contexts: rest });
}

/** @throws Failure when there is none of this name */
export function contextNamed(contexts: Contexts["contexts"], name: string): Context {
  const found = Object.hasOwn(contexts, name) ? contexts[name] : undefined;
  if (found !== undefined) return found;
  const near = suggestions(name, Object.keys(contexts));
  throw new Failure("no-context", EXIT.notFound, `There is no context "${name}"`, {
    fix: near.length > 0 ? `Did you mean "${near[0]}"?` : "See them with `mill context list`",
  });
}
