/** Groups of devices: those that were put into one, or those that its selection finds. */
import type { Selection } from "@millrace/contracts/devices/selection.ts";
import * as shape from "@millrace/contracts/devices/sets.ts";
import { LIMITS, PATTERNS } from "@millrace/contracts/devices/values.ts";
import type { Decider, Decision, DomainEvent, EventMeta, Refusal } from "../decider.ts";
import { Faults, says } from "../faults.ts";
import type { Kind } from "../kind.ts";
import { nameClaims } from "../names.ts";
import { excerpt, first } from "../sentences.ts";
import { sameJson } from "./drift.ts";

export interface GroupSpec {
  readonly name: string;
  readonly title: string | null;
  readonly selection: Selection | null;
  /** Milliseconds between polls of its devices, where a device says nothing itself. */
  readonly pollMs: number | null;
}

export interface GroupState {
  readonly id: string;
  readonly exists: boolean;
  readonly organisation: string;
  readonly generation: number;
  readonly spec: GroupSpec;
  readonly createdAt: string;
  readonly updatedAt: string;
}

interface Seen {
  readonly seen?: number;
}
export type GroupCommand =
  | { readonly do: "create"; readonly spec: Partial<GroupSpec> & Pick<GroupSpec, "name"> }
  | (Seen & { readonly do: "change"; readonly spec: Partial<GroupSpec> })
  | (Seen & { readonly do: "delete" });

const names = nameClaims("group");
const title = says((text) => PATTERNS.title.test(text), `one line of at most ${LIMITS.title} characters`);

function faultsOf({ title: asked, pollMs, selection }: Partial<GroupSpec>): Refusal | undefined {
  const faults = new Faults().check("/title", title, asked);
  const { least, most } = LIMITS.poll;
  if (typeof pollMs === "number" && !(pollMs >= least && pollMs <= most)) faults.add("/pollMs", `${least} to ${most}`);
  if (selection !== undefined && selection !== null && Object.keys(selection).length === 0) {
    faults.add("/selection", "says nothing: every device would be in it");
  }
  return faults.refusal();
}

function evolve(before: GroupState, { type, data }: DomainEvent, { time, organisation }: EventMeta): GroupState {
  const state = { ...before, updatedAt: time, generation: before.generation + 1 };
  switch (type) {
    case "GroupCreated": {
      const spec = { title: null, selection: null, pollMs: null, ...(data as Pick<GroupSpec, "name">) };
      return { ...state, spec, exists: true, organisation, createdAt: time };
    }
    case "GroupChanged":
      return { ...state, spec: { ...before.spec, ...(data as Partial<GroupSpec>) } };
    case "GroupDeleted":
      return { ...state, exists: false };
    default:
      return before;
  }
}

const said = (spec: object) =>
  Object.fromEntries(Object.entries(spec).filter(([, value]) => value !== undefined && value !== null));

const decider: Decider<GroupState, GroupCommand, DomainEvent> = {
  initial: (id) => ({
    id,
    exists: false,
    organisation: "",
    generation: 0,
    spec: { name: "", title: null, selection: null, pollMs: null },
    createdAt: "",
    updatedAt: "",
  }),
  evolve,
  decide: (command, state, { organisation }): Decision<DomainEvent> => {
    if (command.do === "create") {
      if (state.createdAt !== "") {
        return { refused: "conflict", reason: "This group exists already.", fix: "Use another Idempotency-Key." };
      }
      const { spec } = command;
      const claims = [names.claim(organisation, spec.name, true)];
      return faultsOf(spec) ?? { events: [{ type: "GroupCreated", data: said(spec) }], claims };
    }
    if (!state.exists) return { refused: "not-found", reason: "There is no such group." };
    if (command.seen !== undefined && command.seen !== state.generation) {
      return { refused: "precondition", expected: command.seen, actual: state.generation };
    }
    if (command.do === "delete") {
      const { name } = state.spec;
      return { events: [{ type: "GroupDeleted", data: { name } }], claims: [names.claim(organisation, name, false)] };
    }
    const changes = Object.entries(command.spec).filter(
      ([key, value]) => value !== undefined && !sameJson(value, state.spec[key as keyof GroupSpec]),
    );
    if (changes.length === 0) return { events: [] };
    const data = Object.fromEntries(changes) as Partial<GroupSpec>;
    const claims = data.name === undefined ? [] : names.moved(organisation, state.spec.name, data.name);
    return faultsOf(data) ?? { events: [{ type: "GroupChanged", data }], claims };
  },
};

export const group: Kind<GroupState, GroupCommand> = {
  context: "devices",
  kind: "group",
  prefix: "grp",
  collection: "device-groups",
  decider,
  events: {
    GroupCreated: first(
      shape.GroupCreated,
      { name: "upstairs", title: "First floor", selection: { tag: "floor/1" }, pollMs: 30_000 },
      ({ name }) => `created the group "${name}"`,
    ),
    GroupChanged: first(
      shape.GroupChanged,
      { selection: null },
      (changes) => `changed its ${excerpt(Object.keys(changes).join(", "))}`,
    ),
    GroupDeleted: first(shape.GroupDeleted, { name: "upstairs" }, ({ name }) => `deleted the group "${name}"`),
  },
  publicEvents: shape.groupEvents,
  generation: (state) => state.generation,
  exists: (state) => state.exists,
  represent: ({ id, organisation, generation, spec, createdAt, updatedAt }) => ({
    id,
    organisation,
    generation,
    spec: said(spec),
    status: {},
    createdAt,
    updatedAt,
  }),
  nameClaim: names.of,
  stateVersion: 1,
};
