/** The fleet out and in: files written, and files read and sent in parts. */
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { usage } from "../failure.ts";
import { gatewayOf } from "../gateway.ts";
import { oneLine } from "../io.ts";
import { printList } from "../output.ts";
import { styleOf } from "../run.ts";
import { type AnyCall, EXIT } from "../table.ts";
import type { Answer, RequestOf } from "../typed.ts";
import { selectionOf } from "./device-sets.ts";

type Of<F, A> = AnyCall & { readonly flags: F; readonly args: A };
type Imported = Answer<"importDevices">;
type Payload = RequestOf<"importDevices">["payload"];

export async function exportDevices(
  call: Of<
    { readonly out?: string | undefined; readonly where: readonly string[]; readonly domain?: string | undefined },
    { readonly format: string }
  >,
): Promise<void> {
  const { out, where, domain } = call.flags;
  const chosen = Object.fromEntries(Object.entries(selectionOf(where)).map(([name, value]) => [name, `${value}`]));
  const query = { ...chosen, format: call.args.format, ...(domain === undefined ? {} : { domain }) };
  const { files, devices } = await gatewayOf(call).call("exportDevices", { query } as RequestOf<"exportDevices">);
  if (out === undefined) {
    for (const { name, text } of files) await call.io.out(files.length === 1 ? text : `# ${name}\n${text}\n`);
    return;
  }
  const to = resolve(call.io.cwd, out);
  if (call.args.format === "toml") mkdirSync(to, { recursive: true });
  for (const { name, text } of files) writeFileSync(call.args.format === "toml" ? join(to, basename(name)) : to, text);
  call.io.err(`${devices === 1 ? "one device" : `${devices} devices`} to ${out}\n`);
}

/** Of one request: what the gateway takes, with room for what stands round it. */
const PART_BYTES = 900_000;
const PART = 200;

export async function importDevices(
  call: Of<{ readonly "dry-run": boolean; readonly site?: string | undefined }, { readonly files: readonly string[] }>,
): Promise<number> {
  const { "dry-run": dryRun, site } = call.flags;
  const gateway = gatewayOf(call);
  const parts = partsOf(call, call.args.files).map((part) => ({ ...part, ...(site === undefined ? {} : { site }) }));
  const send = (part: object, isTry: boolean) =>
    gateway.call("importDevices", { payload: { ...part, dryRun: isTry } as Payload });
  // Of several parts none is taken in where another is wrong.
  const tried: Imported[] = [];
  if (dryRun || parts.length > 1) for (const part of parts) tried.push(await send(part, true));
  const done: Imported[] = [];
  if (!dryRun) for (const part of parts) done.push(await send(part, false));
  const answers = dryRun ? tried : done;
  const refused = answers.flatMap((one) => one.refused);
  await printList(
    call.io,
    styleOf(call),
    answers.flatMap((one) => one.steps),
    [
      { title: "step", value: (row) => row.step },
      { title: "device", value: (row) => row.name },
      { title: "mac", value: (row) => row.mac },
      { title: "what", value: (row) => row.fields },
    ],
    (row) => row.name,
  );
  const sum = (of: (one: Imported) => number) => answers.reduce((all, one) => all + of(one), 0);
  const changed = dryRun ? "nothing was changed" : `${sum((one) => one.applied)} changed or added`;
  call.io.err(`${changed}, ${sum((one) => one.same)} as they were\n`);
  for (const { file, detail, fix } of refused) call.io.err(`${oneLine(file)}: ${oneLine(`${detail}. ${fix}`)}\n`);
  return refused.length === 0 ? EXIT.ok : EXIT.failure;
}

function partsOf(call: AnyCall, paths: readonly string[]): ReadonlyArray<Record<string, unknown>> {
  const files = paths.flatMap((path) => filesAt(call, path));
  const isFleet = files.length === 1 && files[0]!.endsWith(".json");
  if (isFleet) {
    const fleet = parsedFleet(read(files[0]!), files[0]!);
    return chunked(fleet.devices, (device) => JSON.stringify(device).length).map((devices) => ({
      fleet: { ...fleet, devices },
    }));
  }
  const texts = files.map((file): readonly [string, string] => [basename(file), read(file)]);
  if (new Set(texts.map(([name]) => name)).size < texts.length) throw usage("Two files have the same name");
  return chunked(texts, ([, text]) => JSON.stringify(text).length).map((part) => ({
    files: Object.fromEntries(part),
  }));
}

function filesAt(call: AnyCall, path: string): string[] {
  const at = resolve(call.io.cwd, path);
  const there = statSync(at, { throwIfNoEntry: false });
  if (there === undefined) throw usage(`${path} is not there`);
  if (!there.isDirectory()) return [at];
  const names = readdirSync(at).filter((name) => name.endsWith(".toml"));
  if (names.length === 0) throw usage(`${path} holds no file of TOML`);
  return names.sort().map((name) => join(at, name));
}

function read(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    throw usage(`${file} cannot be read: ${(error as Error).message}`);
  }
}

function parsedFleet(text: string, file: string): { readonly devices: ReadonlyArray<unknown> } {
  try {
    const fleet: unknown = JSON.parse(text);
    const devices = (fleet as { devices?: unknown } | null)?.devices;
    if (Array.isArray(devices)) return fleet as { devices: unknown[] };
  } catch (error) {
    throw usage(`${file} is no JSON: ${(error as Error).message}`);
  }
  throw usage(`${file} is no export of devices`, "mill devices export json --out fleet.json");
}

function chunked<A>(all: ReadonlyArray<A>, sizeOf: (one: A) => number): A[][] {
  const parts: A[][] = [[]];
  let size = 0;
  for (const one of all) {
    const more = sizeOf(one);
    const last = parts.at(-1)!;
    if (last.length > 0 && (last.length >= PART || size + more > PART_BYTES)) {
      parts.push([one]);
      size = more;
    } else {
      last.push(one);
      size += more;
    }
  }
  return parts;
}
