/** `mill up` and `mill down`. */
import { existsSync, readFileSync, realpathSync } from "node:fs";
import { basename, delimiter, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { type Platform, startPlatform } from "@millrace/local/platform.ts";
import { stopRun } from "@millrace/local/run-state.ts";
import { type LoadedSettings, readSettings, SettingsError } from "@millrace/local/settings.ts";
import { type Contexts, readContexts, saveContext } from "../contexts.ts";
import { Failure, interrupted } from "../failure.ts";
import { connect } from "../gateway.ts";
import type { Io } from "../io.ts";
import { styleOf } from "../run.ts";
import { type AnyCall, type Call, EXIT, type None } from "../table.ts";
import { contextOf } from "../target.ts";

type Strings<K extends string> = { readonly [P in K]: { readonly type: "string"; readonly summary: string } };
type UpCall = Call<Strings<"data" | "port" | "host" | "processes">, None>;
export type DataCall = Call<Strings<"data">, None>;

/** The settings, as flags, environment and file say. @throws Failure with exit code 2 that names all that is wrong */
export function settingsOf(io: Io, flags: Readonly<Record<string, string | undefined>> = {}): LoadedSettings {
  const given = Object.fromEntries(Object.entries(flags).filter(([, value]) => value !== undefined));
  try {
    return readSettings({ folder: io.cwd, env: io.env, flags: given as Record<string, string> });
  } catch (error) {
    if (!(error instanceof SettingsError)) throw error;
    throw new Failure("usage", EXIT.usage, "The settings cannot be used", {
      why: error.problems.join(" "),
      fix: "`mill config --help` says where settings come from",
    });
  }
}

/** The data folder that is meant: named, else of the selected context, else the default. */
export function dataFolderOf(call: DataCall): string {
  const { io, flags } = call;
  if (flags.data !== undefined) return resolve(io.cwd, flags.data);
  if (io.env.MILLRACE_DATA) return resolve(io.cwd, io.env.MILLRACE_DATA);
  return contextOf(io, flags.context)?.context.data ?? settingsOf(io).values.data;
}

export async function up(call: UpCall): Promise<number> {
  const { io, flags } = call;
  const { values: settings } = settingsOf(io, {
    data: flags.data,
    port: flags.port,
    host: flags.host,
    processes: flags.processes,
  });
  const began = performance.now();
  const ownerFile = settings.ownerTokenFile ?? join(resolve(settings.data), "secrets", "owner.token");
  const isFirst = !existsSync(ownerFile);
  const log = (line: string) => io.err(`${line}\n`);
  const platform = await startPlatform({ settings, log, signal: io.interrupted }).catch((error: unknown) => {
    throw io.interrupted.aborted ? interrupted() : startFailure(error);
  });
  try {
    if (!io.interrupted.aborted) {
      const name = await register(io, platform);
      await announce(call, platform, { name, isFirst, seconds: (performance.now() - began) / 1000 });
    }
    await new Promise<void>((done) => {
      if (io.interrupted.aborted) done();
      else io.interrupted.addEventListener("abort", () => done(), { once: true });
    });
    io.err("stopping in order\n");
  } finally {
    await platform.stop();
  }
  io.err(`stopped; all state is in ${platform.dataDir}\n`);
  return EXIT.ok;
}

/** The first sentence is what happened, the rest (such as the end of a log) why. */
function startFailure(error: unknown): Failure {
  const message = error instanceof Error ? error.message : String(error);
  const [first = "", ...rest] = message.split("\n");
  const isTaken = /^Millrace runs already|is taken by another/.test(first);
  return new Failure(isTaken ? "conflict" : "not-started", isTaken ? EXIT.conflict : EXIT.failure, first, {
    why: rest.length > 0 ? rest.slice(-12).join(" | ") : undefined,
    fix: isTaken ? undefined : "`mill doctor` says what is missing; the logs are in the data folder, in logs/",
    cause: error,
  });
}

/** The context of this data folder: the one it has, `local` where that is free, else one by the folder's name. */
function contextNameFor(known: Contexts, data: string): string {
  const isSame = (other: string | undefined) => other !== undefined && realOr(other) === realOr(data);
  const mine = Object.entries(known.contexts).find(([, context]) => isSame(context.data));
  if (mine !== undefined) return mine[0];
  if (!("local" in known.contexts)) return "local";
  const base =
    basename(data)
      .toLowerCase()
      .replace(/[^a-z0-9-]+/g, "-")
      .replace(/^-+|-+$/g, "") || "local";
  for (let number = 1; ; number++) {
    const name = `${base.slice(0, 50)}${number === 1 ? "" : `-${number}`}`;
    if (!(name in known.contexts)) return name;
  }
}

const realOr = (path: string): string => {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
};

/** @returns the context's name; undefined when the home folder cannot be written */
async function register(io: Io, platform: Platform): Promise<string | undefined> {
  try {
    const known = readContexts(io.env);
    const name = contextNameFor(known, platform.dataDir);
    const { url, dataDir: data, ownerTokenFile } = platform;
    const before = known.contexts[name];
    // With the organisation's id every later command saves asking for it.
    const org = before?.org ?? (await ownOrganisation(io, platform));
    saveContext(io.env, name, { ...before, url, data, ownerTokenFile, ...(org === undefined ? {} : { org }) });
    return name;
  } catch (error) {
    io.err(`no context was made: ${(error as Error).message}\n`);
    return undefined;
  }
}

async function ownOrganisation(io: Io, { url, ownerTokenFile }: Platform): Promise<string | undefined> {
  const token = readFileSync(ownerTokenFile, "utf8").trim();
  const gateway = connect({ url, token, org: undefined, context: undefined }, io, { seconds: 5, verbose: false });
  // The owner's first token may have been revoked: then whoever logs in says who they are.
  return gateway.org().catch(() => undefined);
}

interface Started {
  readonly name: string | undefined;
  readonly isFirst: boolean;
  readonly seconds: number;
}

async function announce(call: AnyCall, platform: Platform, { name, isFirst, seconds }: Started): Promise<void> {
  const { io } = call;
  const { url, dataDir, ownerTokenFile } = platform;
  const token = isFirst ? readFileSync(ownerTokenFile, "utf8").trim() : undefined;
  const style = styleOf(call);
  if (style.format === "json" || style.format === "jsonl") {
    const started = { url, dataDir, context: name, ownerTokenFile, ...(token ? { ownerToken: token } : {}) };
    return io.out(`${JSON.stringify(started)}\n`);
  }
  const selected = readContextsOr(io).selected;
  const context = name === undefined || selected === name ? "" : ` --context ${name}`;
  const mill = millAsTyped(io);
  const lines = [
    "",
    `Millrace is at ${url}  (started in ${seconds.toFixed(1)} s, state in ${dataDir})`,
    ...(token === undefined
      ? []
      : ["", `The owner's token, shown this once (kept in ${ownerTokenFile}):`, `  ${token}`]),
    "",
    "In another terminal:",
    `  ${mill} tour${context}`,
    `  ${mill} work open "Try Millrace"${context}`,
    `  ${mill} events tail --from beginning${context}`,
    "",
    "Ctrl-C stops it.",
    "",
  ];
  await io.out(`${lines.join("\n")}\n`);
}

/** `mill` where it is on the PATH, else its path in the checkout, so that what is printed can be typed as it stands. */
function millAsTyped(io: Io): string {
  const isOnPath = (io.env.PATH ?? "")
    .split(delimiter)
    .some((folder) => folder !== "" && existsSync(join(folder, "mill")));
  if (isOnPath) return "mill";
  const path = fileURLToPath(new URL("../mill", import.meta.url));
  const near = relative(io.cwd, path);
  return near.startsWith("..") ? path : `./${near}`;
}

function readContextsOr(io: Io): Contexts {
  try {
    return readContexts(io.env);
  } catch {
    return { contexts: {} };
  }
}

export async function down(call: DataCall): Promise<number> {
  const data = dataFolderOf(call);
  const seconds = call.flags.timeout ?? 60;
  const outcome = await stopRun(data, seconds * 1000);
  if (outcome === "still running") {
    throw new Failure("timeout", EXIT.timeout, `It still stops after ${seconds} s`, {
      fix: "Wait a little more with `mill status`; a second `mill down` asks again",
    });
  }
  call.io.err(outcome === "nothing" ? `Nothing runs on ${data}\n` : `Stopped; all state is in ${data}\n`);
  return EXIT.ok;
}
