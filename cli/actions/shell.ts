/** The raw request, completions, version and help. */

import { textOrStdin } from "../ask.ts";
import { COMMANDS } from "../commands.ts";
import { candidates, completionScript, type Shell } from "../complete.ts";
import { usage } from "../failure.ts";
import { bodyOf, gatewayOf } from "../gateway.ts";
import { exitCodesHelp } from "../help.ts";
import { findCommand, nextWords } from "../parse.ts";
import { helpFor, styleOf } from "../run.ts";
import { suggestions } from "../suggest.ts";
import { type AnyCall, type Call, GLOBAL_FLAGS, type None } from "../table.ts";

type Words = Call<None, { readonly words: { readonly summary: string; readonly many: true; readonly optional: true } }>;
type Of<T extends "string" | "strings" | "boolean", K extends string> = {
  readonly [P in K]: { readonly type: T; readonly summary: string };
};
type ApiCall = Call<
  Of<"string", "body"> & Of<"strings", "header"> & Of<"boolean", "include">,
  { readonly method: { readonly summary: string }; readonly path: { readonly summary: string } }
>;

const METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];

export async function api(call: ApiCall): Promise<void> {
  const { io, args, flags } = call;
  const method = args.method.toUpperCase();
  if (!METHODS.includes(method)) throw usage(`"${args.method}" is no method`, METHODS.join(", "));
  if (!args.path.startsWith("/")) throw usage("The path begins with /", `mill api ${method} /v1/whoami`);
  const headers = Object.fromEntries(
    flags.header.map((header) => {
      const colon = header.indexOf(":");
      if (colon < 1) throw usage(`"${header}" is no header`, "Write it as name:value");
      return [header.slice(0, colon).trim().toLowerCase(), header.slice(colon + 1).trim()];
    }),
  );
  const gateway = gatewayOf(call);
  const path = args.path.includes("{org}") ? args.path.replaceAll("{org}", await gateway.org()) : args.path;
  const body = flags.body === undefined ? undefined : await textOrStdin(call, flags.body);
  const answer = await gateway.raw({ method, path, headers, ...(body === undefined ? {} : { body }) });
  if (flags.include) {
    const lines = [...answer.headers].map(([name, value]) => `${name}: ${value}`);
    io.err(`${[answer.status, ...lines].join("\n")}\n`);
  }
  if (answer.status >= 200 && answer.status < 300) {
    const isJson = /json/.test(answer.headers.get("content-type") ?? "");
    const text = isJson && styleOf(call).format !== "jsonl" ? indented(answer.text) : answer.text;
    if (text !== "") await io.out(text.endsWith("\n") ? text : `${text}\n`);
    return;
  }
  bodyOf(answer);
}

function indented(text: string): string {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

export async function completions({
  io,
  args,
}: Call<None, { readonly shell: { readonly summary: string } }>): Promise<void> {
  await io.out(completionScript(args.shell as Shell));
}

export async function complete({ io, args }: Words): Promise<void> {
  const found = await candidates(args.words, io);
  await io.out(found.map((word) => `${word}\n`).join(""));
}

export async function version(call: AnyCall): Promise<void> {
  const { default: root } = await import("../../package.json", { with: { type: "json" } });
  const versions = { mill: root.version, node: process.versions.node, platform: `${process.platform}-${process.arch}` };
  const { format } = styleOf(call);
  await call.io.out(
    format === "table" || format === "name"
      ? `mill ${versions.mill} (Node ${versions.node}, ${versions.platform})\n`
      : `${JSON.stringify(versions)}\n`,
  );
}

export async function help({
  io,
  args,
  flags,
}: Call<
  Of<"boolean", "all">,
  { readonly words: { readonly summary: string; readonly many: true; readonly optional: true } }
>): Promise<void> {
  if (flags.all) return io.out(`${JSON.stringify(wholeTable(), null, 2)}\n`);
  const { words } = args;
  if (words.join(" ") === "exit-codes") return io.out(exitCodesHelp());
  const isKnown = words.length === 0 || findCommand(COMMANDS, words) || nextWords(COMMANDS, words).length > 0;
  if (!isKnown) {
    const near = suggestions(
      words.join(" "),
      COMMANDS.map(({ path }) => path),
    );
    throw usage(
      `There is no command "${words.join(" ")}"`,
      near.length > 0 ? `Did you mean ${near[0]}?` : "See `mill help`",
    );
  }
  return io.out(helpFor(findCommand(COMMANDS, words)?.command.path.split(" ") ?? words, io.columns));
}

function wholeTable() {
  const commands = COMMANDS.filter(({ hidden }) => !hidden).map(({ path, summary, impact, ...rest }) => ({
    command: `mill ${path}`,
    summary,
    impact,
    arguments: rest.arguments ?? {},
    flags: rest.flags ?? {},
    examples: rest.examples,
  }));
  return { flagsOfEveryCommand: GLOBAL_FLAGS, commands };
}
