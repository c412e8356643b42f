/** Devices: taken in, named, said what is wanted of them, and looked at. */
import { confirm, secretValue } from "../ask.ts";
import { usage } from "../failure.ts";
import { gatewayOf } from "../gateway.ts";
import { oneLine } from "../io.ts";
import { facts, printList, printOne } from "../output.ts";
import { styleOf } from "../run.ts";
import { type AnyCall, EXIT } from "../table.ts";
import type { Answer, RequestOf } from "../typed.ts";
import { definitionIn } from "./work-types.ts";

type Device = Answer<"getDevice">;
type Plan = Answer<"planOfDevice">;
type Of<F, A = { readonly device: string }> = AnyCall & { readonly flags: F; readonly args: A };
interface Seen {
  readonly seen?: number | undefined;
}
interface About {
  readonly title?: string | undefined;
  readonly site?: string | undefined;
  readonly tag?: readonly string[];
  readonly group?: readonly string[];
  readonly poll?: number | undefined;
}

const short = (value: unknown): string => oneLine(value === undefined ? "nothing" : JSON.stringify(value)).slice(0, 60);

export function deviceText({ id, spec, status, generation }: Device): string {
  const { identity, address, authentication, firmware, offered } = status;
  const drift = (status.drift?.fields ?? []).map(
    ({ component, path, cause, desired, observed }) =>
      `  ${component}${path}  ${short(observed)}, wanted ${short(desired)} (${cause})\n`,
  );
  return [
    facts([
      ["name", spec.name],
      ["title", spec.title],
      ["id", id],
      ["mac", spec.mac],
      ["state", status.state],
      ["since", status.since],
      ["why", status.lostReason],
      ["model", identity === undefined ? undefined : `${identity.model}${identity.app ? ` (${identity.app})` : ""}`],
      ["generation of hardware", identity?.gen],
      ["firmware", firmware?.version],
      ["newer", offered?.version],
      ["address", address === undefined ? undefined : `${address.scheme}://${address.host}:${address.port}`],
      ["site", spec.site],
      ["tags", spec.tags.length === 0 ? undefined : spec.tags.join(", ")],
      ["groups", spec.groups.length === 0 ? undefined : spec.groups.join(", ")],
      ["profiles", spec.profiles.length === 0 ? undefined : spec.profiles.join(", ")],
      ["password", spec.credentials === "none" ? undefined : "stored"],
      ["login", authentication.state],
      ["read", status.observedAt],
      ["applied", status.applied?.at],
      ["task", status.task],
      ["generation", generation],
    ]),
    ...(spec.configuration === null ? [] : [`wanted of it\n${indented(spec.configuration)}`]),
    ...(drift.length === 0 ? [] : [`not as wanted\n${drift.join("")}`]),
  ].join("\n");
}

const indented = (value: unknown): string => `  ${JSON.stringify(value, null, 2).replaceAll("\n", "\n  ")}\n`;

const print = (call: AnyCall, device: Device) =>
  printOne(call.io, styleOf(call), device, deviceText, ({ spec }) => spec.name);

/** `C4:D8:D5:51:7C:68` as the API has it. */
const macOf = (text: string): string => text.replaceAll(/[:.-]/g, "").toUpperCase();

/** Lists are given only where they were: they replace what is there. */
const aboutOf = ({ title, site, tag = [], group = [], poll }: About) => ({
  ...(title === undefined ? {} : { title }),
  ...(site === undefined ? {} : { site }),
  ...(tag.length === 0 ? {} : { tags: tag }),
  ...(group.length === 0 ? {} : { groups: group }),
  ...(poll === undefined ? {} : { pollMs: poll * 1_000 }),
});

export async function addDevice(
  call: Of<
    About & { readonly host?: string | undefined },
    { readonly mac: string; readonly name?: string | undefined }
  >,
): Promise<void> {
  const { mac, name } = call.args;
  const { host: place } = call.flags;
  const [, host = place, port] = /^(.*[^:]):(\d{1,5})$/.exec(place ?? "") ?? [];
  const at = host === undefined ? {} : { host, ...(port === undefined ? {} : { port: Number(port) }) };
  const payload = { mac: macOf(mac), ...(name === undefined ? {} : { name }), ...at, ...aboutOf(call.flags) };
  await print(call, await gatewayOf(call).call("addDevice", { payload }));
}

export async function changeDevice(
  call: Of<About & Seen & { readonly name?: string | undefined; readonly expected?: string | undefined }>,
): Promise<void> {
  const { name, expected, seen } = call.flags;
  const payload = {
    ...aboutOf(call.flags),
    ...(name === undefined ? {} : { name }),
    ...(expected === undefined ? {} : { expected: expected === "yes" }),
  };
  if (Object.keys(payload).length === 0) throw usage("Nothing is to be changed", "mill devices change --help");
  await print(call, await gatewayOf(call).call("changeDevice", { params: { id: call.args.device }, seen, payload }));
}

/** What is wanted, said by flags. */
export interface ConfiguredBy {
  readonly set: readonly string[];
  readonly unset: readonly string[];
  readonly file?: string | undefined;
  readonly value: readonly string[];
}

interface Configuring extends Seen, ConfiguredBy {
  readonly clear: boolean;
  readonly profile: readonly string[];
  readonly "no-profiles": boolean;
}

type Tree = Record<string, unknown>;

/** JSON where it is JSON, else the text itself. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

const stepsOf = (place: string): string[] => {
  const steps = place.split("/");
  if (steps.some((step) => step === "" || step === "__proto__")) {
    throw usage(`"${place}" is no place`, "As in switch:0/auto_off");
  }
  return steps;
};

/** The tree with the place set, or taken off. */
function withPlace(tree: Tree, [step, ...rest]: readonly string[], value: unknown): Tree {
  const { [step!]: before, ...others } = tree;
  if (rest.length === 0) return value === undefined ? others : { ...others, [step!]: value };
  const within = typeof before === "object" && before !== null && !Array.isArray(before) ? (before as Tree) : {};
  return { ...others, [step!]: withPlace(within, rest, value) };
}

const pairOf = (text: string, flag: string): [string, string] => {
  const at = text.indexOf("=");
  if (at < 1) throw usage(`"${text}" lacks a value`, `--${flag} NAME=VALUE`);
  return [text.slice(0, at), text.slice(at + 1)];
};

/** A configuration with these fields set. */
export const treeOf = (set: readonly string[], own: Tree = {}): Tree =>
  set
    .map((one) => pairOf(one, "set"))
    .reduce((tree, [place, text]) => withPlace(tree, stepsOf(place), parsed(text)), own);

export const valuesOf = (value: readonly string[]): Tree =>
  Object.fromEntries(value.map((one) => pairOf(one, "value")).map(([name, text]) => [name, parsed(text)]));

/** What a file says of a configuration: one alone, or a device or profile as it is shown. */
export async function configurationIn(call: AnyCall, file: string): Promise<unknown> {
  const given = await definitionIn(call, file, "mill devices show NAME -o json > my.json; edit it; --file my.json");
  return "name" in given && "configuration" in given ? given.configuration : given;
}

export async function configure(call: Of<Configuring>): Promise<void> {
  const { set, unset, file, clear, profile, value, seen } = call.flags;
  const { device: id } = call.args;
  const gateway = gatewayOf(call);
  const places = set.length + unset.length > 0;
  if ([places, file !== undefined, clear].filter(Boolean).length > 1) {
    throw usage("--set and --unset, --file, and --clear are three ways: take one of them");
  }
  const payload: Tree = {};
  let generation = seen;
  if (places || value.length > 0) {
    // Single fields are changed in what is there: if that changes meanwhile, it is refused.
    const device = await gateway.call("getDevice", { params: { id } });
    generation ??= device.generation;
    let own = treeOf(set, (device.spec.configuration ?? {}) as Tree);
    for (const place of unset) own = withPlace(own, stepsOf(place), undefined);
    if (places) payload.configuration = own;
    if (value.length > 0) payload.values = { ...device.spec.values, ...valuesOf(value) };
  }
  if (file !== undefined) {
    payload.configuration = await configurationIn(call, file);
  }
  if (clear) payload.configuration = null;
  if (profile.length > 0) payload.profiles = profile;
  if (call.flags["no-profiles"]) payload.profiles = [];
  if (Object.keys(payload).length === 0) throw usage("Nothing is said", "mill devices configure --help");
  const request = { params: { id }, seen: generation, payload: payload as RequestOf<"configureDevice">["payload"] };
  await print(call, await gateway.call("configureDevice", request));
}

export async function adopt(call: Of<Seen & { readonly component: readonly string[] }>): Promise<void> {
  const { component, seen } = call.flags;
  const payload = component.length === 0 ? {} : { components: component };
  await print(call, await gatewayOf(call).call("adoptDevice", { params: { id: call.args.device }, seen, payload }));
}

export async function drift(call: Of<{ readonly at?: string | undefined }>): Promise<number> {
  const query = call.flags.at === undefined ? {} : { at: call.flags.at };
  const { status, spec } = await gatewayOf(call).call("getDevice", { params: { id: call.args.device }, query });
  const { fields = [], more = 0, since } = status.drift ?? {};
  await printList(
    call.io,
    styleOf(call),
    fields,
    [
      { title: "field", value: (row) => row.component + row.path },
      { title: "is", value: (row) => short(row.observed) },
      { title: "wanted", value: (row) => short(row.desired) },
      {
        title: "changed",
        value: (row) => ({ device: "on the device", here: "here", both: "on both sides" })[row.cause],
      },
    ],
    (row) => row.component + row.path,
  );
  if (more > 0) call.io.err(`and ${more} more\n`);
  if (since !== undefined) call.io.err(`Since ${since}\n`);
  if (!status.managed) call.io.err(`Nothing is wanted of ${spec.name}: it is only watched\n`);
  else if (fields.length === 0) call.io.err(`${spec.name} is as wanted\n`);
  return fields.length === 0 ? EXIT.ok : EXIT.failure;
}

/** A plan for people, as lines. */
export function planText({ differences, writes, more }: Plan): string {
  if (writes.length === 0) return "nothing is to be written\n";
  const fields = differences.map(
    ({ component, path, from, to }) => `  ${component}${path}  ${short(from)} → ${short(to)}`,
  );
  const calls = writes.map(({ component, call, needsReboot, cutsOff }) => {
    const what = "method" in call ? call.method : call.path;
    const marks = [...(needsReboot === "always" ? ["reboots"] : []), ...(cutsOff ? ["may cut it off"] : [])];
    return `  ${component}  ${what}${marks.length === 0 ? "" : ` (${marks.join(", ")})`}`;
  });
  const rest = more > 0 ? [`  and ${more} more`] : [];
  return `differs\n${[...fields, ...rest].join("\n")}\nwrites\n${calls.join("\n")}\n`;
}

export async function plan(call: Of<unknown>): Promise<void> {
  const made = await gatewayOf(call).call("planOfDevice", { params: { id: call.args.device } });
  await printOne(call.io, styleOf(call), made, planText, () => call.args.device);
}

export async function live(call: Of<unknown>): Promise<void> {
  const seen = await gatewayOf(call).call("liveDevice", { params: { id: call.args.device } });
  await printOne(
    call.io,
    styleOf(call),
    seen,
    ({ at, status }) => `at ${at}\n${indented(status)}`,
    () => call.args.device,
  );
}

export async function capabilities(call: Of<unknown>): Promise<void> {
  const { capabilities: rows } = await gatewayOf(call).call("capabilitiesOfDevice", {
    params: { id: call.args.device },
  });
  await printList(
    call.io,
    styleOf(call),
    rows,
    [
      { title: "component", value: (row) => row.key },
      { title: "what", value: (row) => row.type },
      { title: "configurable", value: (row) => (row.configurable ? "yes" : "") },
      { title: "does", value: (row) => row.actions },
    ],
    (row) => row.key,
  );
}

export async function storePassword(
  call: Of<Seen & { readonly forget: boolean; readonly realm?: string | undefined; readonly gen?: number | undefined }>,
): Promise<void> {
  const { forget, realm, gen, seen } = call.flags;
  const password = forget ? null : await secretValue(call, `Password of ${call.args.device}`, false);
  const more = { ...(realm === undefined ? {} : { realm }), ...(gen === undefined ? {} : { gen }) };
  const request = { params: { id: call.args.device }, seen, payload: { password, ...more } };
  await print(call, await gatewayOf(call).call("storeCredentials", request));
}

export async function trust(call: Of<Seen>): Promise<void> {
  const { device: id } = call.args;
  await print(call, await gatewayOf(call).call("trustDevice", { params: { id }, seen: call.flags.seen }));
}

export async function removeDevice(call: Of<Seen>): Promise<void> {
  const { device: id } = call.args;
  await confirm(call, `Take ${id} out of the fleet, and destroy what is stored of its password`, id);
  await gatewayOf(call).call("removeDevice", { params: { id }, seen: call.flags.seen });
  call.io.err(`Removed ${id}\n`);
}
