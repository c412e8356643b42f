/** Profiles and groups of devices. */
import { confirm } from "../ask.ts";
import { usage } from "../failure.ts";
import { gatewayOf } from "../gateway.ts";
import { facts, printOne } from "../output.ts";
import { styleOf } from "../run.ts";
import type { AnyCall } from "../table.ts";
import type { Answer, RequestOf } from "../typed.ts";
import { configurationIn } from "./devices.ts";

type Profile = Answer<"getDeviceProfile">;
type Group = Answer<"getDeviceGroup">;
interface Flags {
  readonly title?: string | undefined;
  readonly file?: string | undefined;
  readonly reapply?: string | undefined;
  readonly poll?: number | undefined;
  readonly where?: readonly string[];
  readonly seen?: number | undefined;
}
type Of<A> = AnyCall & { readonly flags: Flags; readonly args: A };

export function profileText({ id, spec, status, generation }: Profile): string {
  const json = JSON.stringify(spec.configuration, null, 2).replaceAll("\n", "\n  ");
  return [
    facts([
      ["name", spec.name],
      ["title", spec.title],
      ["id", id],
      ["written when it changes", spec.reapply ? "yes" : "no"],
      ["generation", generation],
      [
        "its devices want",
        status.reachedGeneration === generation ? undefined : `generation ${status.reachedGeneration}`,
      ],
    ]),
    `configuration\n  ${json}\n`,
  ].join("\n");
}

export const groupText = ({ id, spec, generation }: Group): string =>
  facts([
    ["name", spec.name],
    ["title", spec.title],
    ["id", id],
    ["those", spec.selection === undefined ? "that were put into it" : JSON.stringify(spec.selection)],
    ["poll", spec.pollMs === undefined ? undefined : `every ${spec.pollMs / 1_000} s`],
    ["generation", generation],
  ]);

const named = ({ spec }: { readonly spec: { readonly name: string } }): string => spec.name;

async function profileOf(call: Of<unknown>): Promise<Record<string, unknown>> {
  const { title, file, reapply } = call.flags;
  return {
    ...(title === undefined ? {} : { title }),
    ...(file === undefined ? {} : { configuration: await configurationIn(call, file) }),
    ...(reapply === undefined ? {} : { reapply: reapply === "yes" }),
  };
}

export async function createProfile(call: Of<{ readonly name: string }>): Promise<void> {
  if (call.flags.file === undefined) throw usage("--file is needed", "mill devices profiles create --help");
  const payload = { name: call.args.name, ...(await profileOf(call)) } as RequestOf<"createDeviceProfile">["payload"];
  const made = await gatewayOf(call).call("createDeviceProfile", { payload });
  await printOne(call.io, styleOf(call), made, profileText, named);
}

export async function changeProfile(call: Of<{ readonly profile: string }>): Promise<void> {
  const payload = (await profileOf(call)) as RequestOf<"changeDeviceProfile">["payload"];
  if (Object.keys(payload).length === 0) throw usage("Nothing is to be changed", "mill devices profiles change --help");
  const request = { params: { id: call.args.profile }, seen: call.flags.seen, payload };
  await printOne(
    call.io,
    styleOf(call),
    await gatewayOf(call).call("changeDeviceProfile", request),
    profileText,
    named,
  );
}

/** `tag=floor/1`, `drifted=true` as a selection. */
export function selectionOf(where: readonly string[]): Record<string, unknown> {
  return Object.fromEntries(
    where.map((text) => {
      const at = text.indexOf("=");
      if (at < 1) throw usage(`"${text}" lacks a value`, "--where tag=floor/1");
      const value = text.slice(at + 1);
      return [text.slice(0, at), value === "true" || value === "false" ? value === "true" : value];
    }),
  );
}

const groupOf = ({ flags: { title, poll, where = [] } }: Of<unknown>): Record<string, unknown> => ({
  ...(title === undefined ? {} : { title }),
  ...(poll === undefined ? {} : { pollMs: poll * 1_000 }),
  ...(where.length === 0 ? {} : { selection: selectionOf(where) }),
});

export async function createGroup(call: Of<{ readonly name: string }>): Promise<void> {
  const payload = { name: call.args.name, ...groupOf(call) } as RequestOf<"createDeviceGroup">["payload"];
  const made = await gatewayOf(call).call("createDeviceGroup", { payload });
  await printOne(call.io, styleOf(call), made, groupText, named);
}

export async function changeGroup(call: Of<{ readonly group: string }>): Promise<void> {
  const payload = groupOf(call) as RequestOf<"changeDeviceGroup">["payload"];
  if (Object.keys(payload).length === 0) throw usage("Nothing is to be changed", "mill devices groups change --help");
  const request = { params: { id: call.args.group }, seen: call.flags.seen, payload };
  await printOne(call.io, styleOf(call), await gatewayOf(call).call("changeDeviceGroup", request), groupText, named);
}

export async function remove(
  call: Of<unknown>,
  operation: "deleteDeviceProfile" | "deleteDeviceGroup",
  id: string,
): Promise<void> {
  await confirm(call, `Delete ${id}`, id);
  await gatewayOf(call).call(operation, { params: { id }, seen: call.flags.seen });
  call.io.err(`Deleted ${id}\n`);
}
