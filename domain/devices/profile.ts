/** Profiles: a configuration for many devices. When one changes, an agent has its devices want what it says now, and writes it if it is to. */
import * as shape from "@millrace/contracts/devices/sets.ts";
import { LIMITS, PATTERNS } from "@millrace/contracts/devices/values.ts";
import type { Decider, Decision, DomainEvent, EventMeta, Refusal } from "../decider.ts";
import { Faults, says } from "../faults.ts";
import type { Kind } from "../kind.ts";
import { nameClaims } from "../names.ts";
import { excerpt, first } from "../sentences.ts";
import { type Configuration, configurationFaults } from "./configuration.ts";
import { overtaken } from "./device-decide.ts";
import { sameJson } from "./drift.ts";

export interface ProfileSpec {
  readonly name: string;
  readonly title: string | null;
  readonly configuration: Configuration;
  readonly reapply: boolean;
}

export interface ProfileState {
  readonly id: string;
  readonly exists: boolean;
  readonly organisation: string;
  readonly generation: number;
  readonly spec: ProfileSpec;
  /** Counts changes of the configuration, by the generation at which it was. */
  readonly changedAt: number;
  readonly reachedGeneration: number;
  readonly createdAt: string;
  readonly updatedAt: string;
}

interface Seen {
  readonly seen?: number;
}
export type ProfileCommand =
  | { readonly do: "create"; readonly spec: Partial<ProfileSpec> & Pick<ProfileSpec, "name" | "configuration"> }
  | (Seen & { readonly do: "change"; readonly spec: Partial<ProfileSpec> })
  | (Seen & { readonly do: "delete" })
  /** All its devices want what it says at this generation; `bulk` writes it to them. */
  | { readonly do: "reached"; readonly generation: number; readonly devices: number; readonly bulk?: string };

const names = nameClaims("profile");
const title = says((text) => PATTERNS.title.test(text), `one line of at most ${LIMITS.title} characters`);

const faultsOf = ({ title: asked, configuration }: Partial<ProfileSpec>): Refusal | undefined => {
  const faults = new Faults().check("/title", title, asked);
  if (configuration !== undefined) configurationFaults(configuration, "/configuration", faults);
  return faults.refusal();
};

function evolve(before: ProfileState, { type, data }: DomainEvent, { time, organisation }: EventMeta): ProfileState {
  const state = { ...before, updatedAt: time };
  const generation = before.generation + 1;
  switch (type) {
    case "ProfileCreated": {
      const spec = { title: null, ...(data as Omit<ProfileSpec, "title">) };
      const at = { generation, changedAt: generation, reachedGeneration: generation };
      return { ...state, ...at, spec, exists: true, organisation, createdAt: time };
    }
    case "ProfileChanged": {
      const spec = { ...before.spec, ...(data as Partial<ProfileSpec>) };
      const isOther = "configuration" in (data as object);
      return { ...state, generation, spec, changedAt: isOther ? generation : before.changedAt };
    }
    case "ProfileReached":
      return { ...state, reachedGeneration: (data as { generation: number }).generation };
    case "ProfileDeleted":
      return { ...state, generation, exists: false };
    default:
      return state;
  }
}

const decider: Decider<ProfileState, ProfileCommand, DomainEvent> = {
  initial: (id) => ({
    id,
    exists: false,
    organisation: "",
    generation: 0,
    spec: { name: "", title: null, configuration: {}, reapply: false },
    changedAt: 0,
    reachedGeneration: 0,
    createdAt: "",
    updatedAt: "",
  }),
  evolve,
  decide: (command, state, { organisation }): Decision<DomainEvent> => {
    if (command.do === "create") {
      if (state.createdAt !== "") {
        return { refused: "conflict", reason: "This profile exists already.", fix: "Use another Idempotency-Key." };
      }
      const { title: asked, ...spec } = { reapply: false, ...command.spec };
      const data = asked === undefined || asked === null ? spec : { ...spec, title: asked };
      const claims = [names.claim(organisation, spec.name, true)];
      return faultsOf(command.spec) ?? { events: [{ type: "ProfileCreated", data }], claims };
    }
    if (!state.exists) return { refused: "not-found", reason: "There is no such profile." };
    if ("seen" in command && command.seen !== undefined && command.seen !== state.generation) {
      return { refused: "precondition", expected: command.seen, actual: state.generation };
    }
    switch (command.do) {
      case "change": {
        const changes = Object.entries(command.spec).filter(
          ([key, value]) => value !== undefined && !sameJson(value, state.spec[key as keyof ProfileSpec]),
        );
        if (changes.length === 0) return { events: [] };
        const data = Object.fromEntries(changes) as Partial<ProfileSpec>;
        const { name } = data;
        const claims = name === undefined ? [] : names.moved(organisation, state.spec.name, name);
        return faultsOf(command.spec) ?? { events: [{ type: "ProfileChanged", data }], claims };
      }
      case "reached": {
        const { do: _, ...data } = command;
        if (data.generation !== state.generation) return overtaken("It was changed meanwhile.");
        return { events: state.reachedGeneration >= data.generation ? [] : [{ type: "ProfileReached", data }] };
      }
      case "delete": {
        const { name } = state.spec;
        return {
          events: [{ type: "ProfileDeleted", data: { name } }],
          claims: [names.claim(organisation, name, false)],
        };
      }
    }
  },
};

export interface ProfileStep {
  readonly kind: "reach";
  readonly generation: number;
}

/** Its devices are to want what it says now: `resolve` each of them, ask for a bulk operation if it is to be written, then `reached`. */
export const nextOfProfile = (state: ProfileState): undefined | { readonly do: ProfileStep } =>
  state.exists && state.changedAt > state.reachedGeneration
    ? { do: { kind: "reach", generation: state.generation } }
    : undefined;

export const profile: Kind<ProfileState, ProfileCommand> = {
  context: "devices",
  kind: "profile",
  prefix: "prf",
  collection: "device-profiles",
  decider,
  events: {
    ProfileCreated: first(
      shape.ProfileCreated,
      { name: "eco", title: "Saves power", configuration: { sys: { device: { eco_mode: true } } }, reapply: true },
      ({ name, configuration }) =>
        `created the profile "${name}" for ${excerpt(Object.keys(configuration).join(", ") || "nothing")}`,
    ),
    ProfileChanged: first(
      shape.ProfileChanged,
      { configuration: { sys: { device: { eco_mode: false } } } },
      (changes) => `changed its ${excerpt(Object.keys(changes).join(", "))}`,
    ),
    ProfileReached: first(
      shape.ProfileReached,
      { generation: 2, devices: 12, bulk: "blk_01kajzq4v0e8r9t2m5x7c3d6fg" },
      ({ devices, bulk }) =>
        `has ${devices === 1 ? "one device" : `${devices} devices`} want what it says now${bulk === undefined ? "" : ", and written to them"}`,
    ),
    ProfileDeleted: first(shape.ProfileDeleted, { name: "eco" }, ({ name }) => `deleted the profile "${name}"`),
  },
  publicEvents: shape.profileEvents,
  generation: (state) => state.generation,
  exists: (state) => state.exists,
  represent: ({ id, organisation, generation, spec, reachedGeneration, createdAt, updatedAt }) => {
    const { title: shown, ...rest } = spec;
    const named = shown === null ? rest : { ...rest, title: shown };
    return { id, organisation, generation, spec: named, status: { reachedGeneration }, createdAt, updatedAt };
  },
  nameClaim: names.of,
  stateVersion: 1,
};
