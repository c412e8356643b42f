/** What a run of a sync writes, and what it takes in: devices as documents, and documents as commands. Pure. */
import type { Selection } from "@millrace/contracts/devices/selection.ts";
import type { SyncFault, SyncStep } from "@millrace/contracts/devices/syncs.ts";
import { isRefusal, type Refusal } from "../decider.ts";
import { type Configuration, desiredOf, secretsNamed } from "./configuration.ts";
import { type DeviceCommand, type DeviceState, device } from "./device.ts";
import { type Document, importPlan } from "./model/exports/document.ts";
import { documentFromToml, tomlOf } from "./model/exports/toml.ts";
import type { ProfileState } from "./profile.ts";
import { devicesView } from "./views.ts";

/** The organisation as the agent sees it. */
export interface Fleet {
  readonly organisation: string;
  readonly devices: ReadonlyArray<DeviceState>;
  /** By id. */
  readonly profiles: ReadonlyMap<string, ProfileState>;
  /** Names by id. */
  readonly groups: ReadonlyMap<string, string>;
}

const columnOf = (field: string) => devicesView.columns[field === "state" ? "stateName" : field];

/** Whether all that the selection says holds, as a list filtered by it would find. */
export const isSelected = (selection: Selection | null, state: DeviceState): boolean =>
  Object.entries(selection ?? {}).every(([field, wanted]) => {
    const value = columnOf(field)?.value(state);
    return Array.isArray(value) ? value.includes(wanted) : value !== null && String(value) === String(wanted);
  });

/** Names by id, of what devices have. */
export interface Named {
  readonly profiles: ReadonlyMap<string, { readonly spec: { readonly name: string } }>;
  readonly groups: ReadonlyMap<string, string>;
}

/** As it is written to its file: what people said of it. */
export function documentOfDevice(
  state: Pick<DeviceState, "mac" | "name" | "tags" | "identity" | "values" | "groups" | "profiles" | "configuration">,
  { profiles, groups }: Named,
): Document {
  const { mac, name, tags, identity, values } = state;
  const named = {
    tags,
    groups: state.groups.map((id) => groups.get(id) ?? id).sort(),
    profiles: state.profiles.map((id) => profiles.get(id)?.spec.name ?? id),
  };
  const lists = Object.fromEntries(Object.entries(named).filter(([, list]) => list.length > 0));
  return {
    device: {
      mac,
      name,
      ...(identity === null ? {} : { model: identity.model, generation: identity.gen }),
      ...(identity?.app === undefined ? {} : { app: identity.app }),
      ...lists,
      ...(Object.keys(values).length === 0 ? {} : { values }),
    },
    configuration: (state.configuration ?? {}) as Document["configuration"],
  };
}

/** Its file's name within the folder, and its text. */
export const fileOfDevice = (
  state: Parameters<typeof documentOfDevice>[0],
  fleet: Named,
): { readonly file: string; readonly text: string } => ({
  file: `${state.name}.toml`,
  text: tomlOf(documentOfDevice(state, fleet)),
});

/** One device's part of what comes in. */
export interface Incoming {
  readonly mac: string;
  readonly file: string;
  /** Of the device that there is; undefined: it is new. */
  readonly id: string | undefined;
  readonly commands: ReadonlyArray<DeviceCommand>;
}

export interface Plan {
  readonly steps: ReadonlyArray<SyncStep>;
  readonly incoming: ReadonlyArray<Incoming>;
  readonly same: number;
}

/** For what is compared: what a device says of itself is no wish. */
const wishes = ({ device: { model: _, app: __, generation: ___, ...about }, configuration }: Document): Document => ({
  device: about,
  configuration,
});

/** A device as a file says it should be. */
export interface Said {
  readonly file: string;
  readonly document: Document;
}

/** What is known of devices, by MAC: it says which fields there are. */
export function knownOf(devices: ReadonlyArray<DeviceState>): (mac: string) => Document["configuration"] | undefined {
  const byMac = new Map(devices.map((state) => [state.mac, state]));
  return (mac) => (byMac.get(mac)?.observed ?? undefined) as Document["configuration"] | undefined;
}

export interface PlanOptions {
  /** Where devices that are new stand. */
  readonly site: string;
  /** Of which devices files may speak; null: of all. */
  readonly select: Selection | null;
  /** Whether a secret may be named in a place where it is not named already; left out: none may. */
  readonly mayName?: (secret: string) => boolean;
}

/**
 * @param files texts by name, those that are to be taken in
 * @returns what would change; or what is wrong, all of it: nothing is taken in then
 */
export function planOf(
  files: ReadonlyMap<string, string>,
  fleet: Fleet,
  options: PlanOptions,
): Plan | { readonly faults: ReadonlyArray<SyncFault> } {
  const known = knownOf(fleet.devices);
  const faults: SyncFault[] = [];
  const said: Said[] = [];
  for (const [file, text] of files) {
    const document = documentFromToml(text, known);
    if ("faults" in document) faults.push(...document.faults.map((fault) => ({ file, ...fault })));
    else said.push({ file, document });
  }
  return planOfDocuments(said, fleet, options, faults);
}

/** @param faults of what could not be read */
export function planOfDocuments(
  said: ReadonlyArray<Said>,
  fleet: Fleet,
  options: PlanOptions,
  faults: SyncFault[] = [],
): Plan | { readonly faults: ReadonlyArray<SyncFault> } {
  const { select } = options;
  const byMac = new Map(fleet.devices.map((state) => [state.mac, state]));
  const documents = new Map<string, Said>();
  for (const { file, document } of said) {
    const twin = documents.get(document.device.mac);
    if (twin === undefined) documents.set(document.device.mac, { file, document: wishes(document) });
    else faults.push(wrong(file, "device.mac", `stands in ${twin.file}, too`, "Keep one of the files."));
  }
  const read = [...documents.values()];
  const present = read.flatMap(({ document }) => {
    const state = byMac.get(document.device.mac);
    return state === undefined ? [] : [whatIsSaid(wishes(documentOfDevice(state, fleet)), document)];
  });
  const plan = importPlan(
    present,
    read.map(({ document }) => document),
  );
  if ("faults" in plan) return { faults: [...faults, ...plan.faults.map((fault) => ({ file: "", ...fault }))] };
  const steps: SyncStep[] = [];
  const incoming: Incoming[] = [];
  for (const { mac, name, step, fields } of plan) {
    const { file, document } = documents.get(mac)!;
    if (step !== "add" && step !== "change") continue;
    const state = byMac.get(mac);
    if (state !== undefined && !isSelected(select, state)) {
      faults.push(
        wrong(file, "device.mac", "is none of the devices of this sync", "Take the file out, or widen the selection."),
      );
      continue;
    }
    const commands = commandsOf(document, state, fleet, file, options);
    if ("faults" in commands) faults.push(...commands.faults);
    else incoming.push({ mac, file, id: state?.id, commands: commands.commands });
    steps.push({ mac, name: name ?? mac, file, step, fields });
  }
  return faults.length > 0 ? { faults } : { steps, incoming, same: plan.length - steps.length };
}

/** Of what there is, only what the file says something of: the rest is not touched. */
function whatIsSaid(now: Document, { device: said }: Document): Document {
  const about = Object.fromEntries(Object.entries(now.device).filter(([field]) => Object.hasOwn(said, field)));
  return { device: about as unknown as Document["device"], configuration: now.configuration };
}

const wrong = (file: string, place: string, detail: string, fix: string): SyncFault => ({ file, place, detail, fix });

/** What is wished for by the file, as the rules take it; or why they would not. */
function commandsOf(
  { device: about, configuration }: Document,
  state: DeviceState | undefined,
  fleet: Fleet,
  file: string,
  { site, mayName }: PlanOptions,
): { readonly commands: ReadonlyArray<DeviceCommand> } | { readonly faults: ReadonlyArray<SyncFault> } {
  const faults: SyncFault[] = [];
  const idsOf = (what: "groups" | "profiles", named: ReadonlyMap<string, string>) =>
    about[what]?.flatMap((name) => {
      const id = [...named].find(([one, called]) => called === name || one === name)?.[0];
      if (id === undefined)
        faults.push(wrong(file, `device.${what}`, `names ${name}, which is not there`, "Create it first."));
      return id === undefined ? [] : [id];
    });
  const groups = idsOf("groups", fleet.groups);
  const profiles = idsOf("profiles", new Map([...fleet.profiles].map(([id, { spec }]) => [id, spec.name])));
  const own = Object.keys(configuration).length === 0 && (state?.configuration ?? null) === null ? null : configuration;
  // Who may write into a repository may not have any secret sent to any device.
  const before = secretsNamed(state?.configuration ?? {});
  for (const { place, secret } of secretsNamed(own)) {
    if (before.some((one) => one.place === place && one.secret === secret) || mayName?.(secret) === true) continue;
    const fix = "Name it by `mill devices configure` first, which takes the permission for secrets.";
    faults.push(
      wrong(file, place.slice(1).replaceAll("/", "."), "names a secret that the device did not have there", fix),
    );
  }
  const chosen = profiles ?? state?.profiles ?? [];
  const values = about.values ?? state?.values ?? {};
  const used = chosen.flatMap((id) => {
    const profile = fleet.profiles.get(id);
    if (profile === undefined) return [];
    return [{ id, generation: profile.generation, configuration: profile.spec.configuration as Configuration }];
  });
  const { desired, missing } = desiredOf(used, own, values);
  if (missing.length > 0 && used.length > 0) {
    const detail = `lack what its profiles use: ${missing.slice(0, 10).join(", ")}`;
    faults.push(wrong(file, "device.values", detail, "Give them in [device.values]."));
  }
  if (faults.length > 0) return { faults };
  const resolved = { desired: desired ?? {}, profiles: used.map(({ id, generation }) => ({ id, generation })) };
  const said = {
    ...(about.name === undefined ? {} : { name: about.name }),
    ...(about.tags === undefined ? {} : { tags: about.tags }),
    ...(groups === undefined ? {} : { groups }),
  };
  const usual = { name: `shelly-${about.mac.toLowerCase()}`, tags: [], groups: [], site, expected: true };
  const first: DeviceCommand =
    state === undefined ? { do: "add", spec: { ...usual, ...said, mac: about.mac } } : { do: "change", spec: said };
  const configure: DeviceCommand = {
    do: "configure",
    configuration: own,
    ...(profiles === undefined ? {} : { profiles }),
    ...(about.values === undefined ? {} : { values }),
    ...(used.length === 0 ? {} : { resolved }),
  };
  const refusal = refusalOf([first, configure], state, fleet.organisation);
  return refusal === undefined ? { commands: [first, configure] } : { faults: faultsOfRefusal(file, refusal) };
}

/** What the rules would say to them now. */
function refusalOf(
  commands: ReadonlyArray<DeviceCommand>,
  state: DeviceState | undefined,
  organisation: string,
): Refusal | undefined {
  const meta = { time: "1970-01-01T00:00:00.000Z", organisation, actor: { kind: "service", id: "plan" } } as never;
  let now = state ?? device.decider.initial("dev_00000000000000000000000000");
  for (const command of commands) {
    const decision = device.decider.decide(command, now, { organisation, now: "1970-01-01T00:00:00.000Z" } as never);
    if (isRefusal(decision)) return decision;
    for (const event of decision.events) now = device.decider.evolve(now, event, meta);
  }
  return undefined;
}

/** A rule's refusal at the place in the file that it is about. */
export function faultsOfRefusal(file: string, refusal: Refusal): ReadonlyArray<SyncFault> {
  if (refusal.refused === "invalid") {
    return refusal.errors.map(({ pointer, detail }) =>
      wrong(file, pointer.replace(/^\/configuration\//, "").slice(0, 200), detail, "Correct it."),
    );
  }
  const { reason = "it is not as it was any more", fix = "Run it again." } = refusal as {
    reason?: string;
    fix?: string;
  };
  return [wrong(file, "device", reason, fix)];
}
