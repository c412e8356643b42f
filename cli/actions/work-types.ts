/** Types of work: defined in a file of JSON. */
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { confirm, textOrStdin } from "../ask.ts";
import { usage } from "../failure.ts";
import { gatewayOf } from "../gateway.ts";
import { oneLine, plain } from "../io.ts";
import { facts, printOne } from "../output.ts";
import { styleOf } from "../run.ts";
import type { AnyCall, Call, Flag, None } from "../table.ts";
import type { Answer, RequestOf } from "../typed.ts";

type Type = Answer<"getType">;
type Of<T extends Flag["type"], K extends string> = {
  readonly [P in K]: { readonly type: T; readonly summary: string };
};
type TypeArgument = { readonly type: { readonly summary: string } };

/** A type for people. */
export function typeText({ id, spec, status, generation }: Type): string {
  const states = spec.states.map(({ name, title, group }) => `  ${name}  ${oneLine(title)} (${group})`);
  const moves = spec.transitions.map(({ from, to, title }) => `  ${from} → ${to}${title ? `  ${oneLine(title)}` : ""}`);
  const lines = spec.checklist.map(({ text, required }) => `  ${oneLine(text)}${required ? "" : "  (optional)"}`);
  const gates = Object.entries(spec.gates).map(([group, names]) => `  before ${group}: ${names?.join(", ")}`);
  const part = (title: string, rows: readonly string[]) =>
    rows.length === 0 ? [] : [`${title}\n${rows.join("\n")}\n`];
  return [
    facts([
      ["name", spec.name],
      ["title", spec.title],
      ["id", id],
      ["built in", status.builtIn ? "yes" : undefined],
      ["generation", generation],
      ["begins in", spec.initial],
      ["notes", `at least ${spec.notesRequired.minLength} characters`],
    ]),
    ...part("description", spec.description === "" ? [] : [`  ${plain(spec.description).replaceAll("\n", "\n  ")}`]),
    ...part("states", states),
    ...part("moves", moves),
    ...part("checklist", lines),
    ...part("gates", gates),
    ...part(
      "template of the notes",
      spec.notesTemplate === "" ? [] : [`  ${plain(spec.notesTemplate).replaceAll("\n", "\n  ")}`],
    ),
  ].join("\n");
}

const print = (call: AnyCall, type: Type) => printOne(call.io, styleOf(call), type, typeText, ({ spec }) => spec.name);

/** What the file holds: the definition itself, or a type as it is shown. */
const definition = (call: Call<Of<"string", "file">, None>): Promise<Record<string, unknown>> =>
  definitionIn(call, call.flags.file, "mill work types show task -o json > my.json; edit it; --file my.json");

/** What a file of JSON defines: an entity's spec, or the entity as it is shown. @param example what to do without a file */
export async function definitionIn(
  call: AnyCall,
  file: string | undefined,
  example: string,
): Promise<Record<string, unknown>> {
  if (file === undefined) throw usage("--file is needed", example);
  let text: string;
  try {
    text = file === "-" ? await textOrStdin(call, file) : readFileSync(resolve(call.io.cwd, file), "utf8");
  } catch (error) {
    throw usage(`${file} cannot be read: ${(error as Error).message}`);
  }
  let read: unknown;
  try {
    read = JSON.parse(text);
  } catch (error) {
    throw usage(`${file} is no JSON: ${(error as Error).message}`);
  }
  if (typeof read !== "object" || read === null || Array.isArray(read)) throw usage(`${file} holds no object`);
  const spec = (read as { spec?: unknown }).spec;
  return (typeof spec === "object" && spec !== null ? spec : read) as Record<string, unknown>;
}

export async function create(call: Call<Of<"string", "file">, None>): Promise<void> {
  const payload = (await definition(call)) as unknown as RequestOf<"defineType">["payload"];
  await print(call, await gatewayOf(call).call("defineType", { payload }));
}

export async function change(call: Call<Of<"string", "file"> & Of<"integer", "seen">, TypeArgument>): Promise<void> {
  // The name is in the path; in the body it would be a field unknown there.
  const { name: _, ...payload } = await definition(call);
  const params = { id: call.args.type };
  await print(call, await gatewayOf(call).call("changeType", { params, seen: call.flags.seen, payload }));
}

export async function remove(call: Call<Of<"integer", "seen">, TypeArgument>): Promise<void> {
  const { type } = call.args;
  await confirm(call, `Delete the type of work ${type}`, type);
  await gatewayOf(call).call("deleteType", { params: { id: type }, seen: call.flags.seen });
  call.io.err(`Deleted ${type}\n`);
}
