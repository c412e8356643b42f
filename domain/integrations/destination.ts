/**
 * What webhooks and channels share: something that events are sent to. It is made, changed, paused, resumed, replayed, tested and
 * deleted by people; the outbox parks and disables it, and says what it has missed. Single deliveries are no events.
 */
import { type From, LIMITS, type STATES } from "@millrace/contracts/integrations/values.ts";
import type { Decider, Decision, DomainEvent, EventMeta, Refusal } from "../decider.ts";
import { rule } from "../decider.ts";
import { nameClaims } from "../names.ts";
import type { Sealed } from "../sealed.ts";

export interface ParkedEntity {
  readonly context: string;
  readonly kind: string;
  readonly id: string;
  readonly event: string;
  readonly reason: string;
  readonly since: string;
}

/** What its secret values are sealed as; for a time two are good. */
export interface SealedPair {
  readonly current: Sealed;
  readonly previous?: { readonly sealed: Sealed; readonly until: string };
}

export interface DestinationState<Spec> {
  readonly id: string;
  readonly exists: boolean;
  readonly organisation: string;
  readonly generation: number;
  readonly spec: Spec | null;
  readonly secrets: SealedPair | null;
  readonly state: (typeof STATES)[number];
  readonly reason: string | null;
  readonly since: string;
  readonly parked: ReadonlyArray<ParkedEntity>;
  /** Where deliveries begin, and how often that was said anew: a greater number than the outbox knows makes it begin there. */
  readonly start: { readonly replays: number; readonly position?: string; readonly time?: string };
  /** What had failed is tried again when this is more than the outbox knows. */
  readonly resumes: number;
  /** The last resumption passes over what had failed to the last. */
  readonly skips: boolean;
  readonly tests: number;
  readonly createdAt: string;
  readonly updatedAt: string;
}

type Seen = { readonly seen?: number };

export type DestinationCommand<Spec> =
  | { readonly do: "create"; readonly spec: Spec; readonly sealed: Sealed; readonly from: From }
  | ({ readonly do: "change"; readonly spec: Partial<Spec>; readonly sealed?: Sealed } & Seen)
  | ({ readonly do: "rotate"; readonly sealed: Sealed; readonly until: string } & Seen)
  | ({ readonly do: "pause" } & Seen)
  | ({ readonly do: "resume"; readonly skip: boolean } & Seen)
  | ({ readonly do: "replay"; readonly position?: string; readonly time?: string } & Seen)
  | ({ readonly do: "test" } & Seen)
  | ({ readonly do: "delete" } & Seen)
  /** The outbox's own. `resumes` is what it knew: when somebody has resumed it meanwhile, nothing happens. */
  | { readonly do: "park"; readonly reason: string; readonly resumes: number }
  | { readonly do: "disable"; readonly reason: string; readonly resumes: number }
  | {
      readonly do: "parkEntity";
      readonly entity: { readonly context: string; readonly kind: string; readonly id: string };
      readonly event: string;
      readonly reason: string;
      readonly resumes: number;
    }
  | { readonly do: "missed"; readonly context: string; readonly resumedAt: string };

/** What differs between kinds of destinations. */
export interface Rules<Spec> {
  /** Events begin with it: `Webhook`. */
  readonly noun: string;
  /** As people say it: `webhook`. */
  readonly word: string;
  /** What is wrong with a spec, or undefined. */
  readonly check: (spec: Spec) => Refusal | undefined;
}

export const initialDestination = <Spec>(id: string): DestinationState<Spec> => ({
  id,
  exists: false,
  organisation: "",
  generation: 0,
  spec: null,
  secrets: null,
  state: "active",
  reason: null,
  since: "",
  parked: [],
  start: { replays: 0 },
  resumes: 0,
  skips: false,
  tests: 0,
  createdAt: "",
  updatedAt: "",
});

const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);

const fold = <Spec>(noun: string) =>
  function evolve(before: DestinationState<Spec>, event: DomainEvent, meta: EventMeta): DestinationState<Spec> {
    // biome-ignore lint/suspicious/noExplicitAny: of which event the data is, its type says
    const data = event.data as any;
    const state = { ...before, updatedAt: meta.time };
    const changed = { ...state, generation: before.generation + 1 };
    const into = (name: DestinationState<Spec>["state"], reason: string | null) => ({
      ...state,
      state: name,
      reason,
      since: meta.time,
    });
    switch (event.type.slice(noun.length)) {
      case "Created": {
        const { sealed, from, ...spec } = data;
        return {
          ...changed,
          exists: true,
          organisation: meta.organisation,
          spec,
          secrets: { current: sealed },
          since: meta.time,
          start: { replays: 0, ...from },
          createdAt: meta.time,
        };
      }
      case "Changed": {
        const { sealed, ...spec } = data;
        const secrets = sealed === undefined ? before.secrets : { current: sealed };
        return { ...changed, spec: { ...before.spec, ...spec } as Spec, secrets };
      }
      case "SecretRotated": {
        const previous = { sealed: before.secrets!.current, until: data.oldUntil };
        return { ...changed, secrets: { current: data.sealed, previous } };
      }
      case "Paused":
        return into("paused", null);
      case "Resumed":
        return { ...into("active", null), parked: [], resumes: before.resumes + 1, skips: data.skip };
      case "ReplayRequested":
        return { ...state, parked: [], start: { ...data, replays: before.start.replays + 1 } };
      case "TestRequested":
        return { ...state, tests: data.test };
      case "Disabled":
        return into("disabled", data.reason);
      case "Parked":
        return into("parked", data.reason);
      case "EntityParked": {
        const { entity, event: id, reason } = data;
        return { ...state, parked: [...before.parked, { ...entity, event: id, reason, since: meta.time }] };
      }
      case "Deleted":
        return { ...state, exists: false };
      default:
        return state;
    }
  };

export function destinationDecider<Spec extends { readonly name: string }>({
  noun,
  word,
  check,
}: Rules<Spec>): Decider<DestinationState<Spec>, DestinationCommand<Spec>, DomainEvent> {
  const happens = (what: string, data: unknown): Decision<DomainEvent> => ({
    events: [{ type: `${noun}${what}`, data }],
  });
  const nothing: Decision<DomainEvent> = { events: [] };
  const { claim } = nameClaims(word);

  function byOutbox(
    command: Extract<DestinationCommand<Spec>, { readonly resumes: number }>,
    state: DestinationState<Spec>,
  ): Decision<DomainEvent> {
    if (state.state !== "active" || command.resumes !== state.resumes) return nothing;
    const { reason } = command;
    if (command.do === "disable") return happens("Disabled", { reason });
    if (command.do === "park") return happens("Parked", { reason });
    const { entity, event } = command;
    if (state.parked.some((one) => one.id === entity.id && one.kind === entity.kind && one.context === entity.context))
      return nothing;
    if (state.parked.length >= LIMITS.parkedEntities) {
      return happens("Parked", { reason: `${state.parked.length} entities are parked already; the next: ${reason}` });
    }
    return happens("EntityParked", { entity, event, reason });
  }

  return {
    initial: initialDestination,
    evolve: fold<Spec>(noun),
    decide: (command, state, { organisation }): Decision<DomainEvent> => {
      if (command.do === "create") {
        if (state.createdAt !== "") {
          return { refused: "conflict", reason: `This ${word} exists already.`, fix: "Use another Idempotency-Key." };
        }
        const { spec, sealed, from } = command;
        const data = { ...spec, from, sealed };
        return (
          check(spec) ?? {
            events: [{ type: `${noun}Created`, data }],
            claims: [claim(organisation, spec.name, true)],
          }
        );
      }
      if (!state.exists || state.spec === null) return { refused: "not-found", reason: `There is no such ${word}.` };
      if ("resumes" in command) return byOutbox(command, state);
      if (command.do === "missed") {
        return happens("GapMet", { context: command.context, resumedAt: command.resumedAt });
      }
      if (command.seen !== undefined && command.seen !== state.generation) {
        return { refused: "precondition", expected: command.seen, actual: state.generation };
      }
      switch (command.do) {
        case "change": {
          const after = { ...state.spec, ...command.spec, name: state.spec.name };
          const wrong = check(after);
          if (wrong !== undefined) return wrong;
          const changes = Object.entries(command.spec).filter(
            ([key, value]) => key !== "name" && !same(value, state.spec![key as keyof Spec]),
          );
          const { sealed } = command;
          if (changes.length === 0 && sealed === undefined) return nothing;
          return happens("Changed", { ...Object.fromEntries(changes), ...(sealed === undefined ? {} : { sealed }) });
        }
        case "rotate":
          return happens("SecretRotated", { sealed: command.sealed, oldUntil: command.until });
        case "pause":
          if (state.state === "paused") return nothing;
          if (state.state === "active") return happens("Paused", {});
          return rule(
            "stopped-already",
            `It is ${state.state}: nothing is sent anyway.`,
            "Resume it when it can go on.",
          );
        case "resume":
          if (state.state === "active" && state.parked.length === 0) return nothing;
          return happens("Resumed", { from: state.state, skip: command.skip });
        case "replay": {
          const { position, time } = command;
          return happens("ReplayRequested", {
            ...(position === undefined ? {} : { position }),
            ...(time === undefined ? {} : { time }),
          });
        }
        case "test":
          return happens("TestRequested", { test: state.tests + 1 });
        case "delete": {
          const { name } = state.spec;
          return {
            ...happens("Deleted", { name }),
            claims: [claim(organisation, name, false)],
          } as Decision<DomainEvent>;
        }
      }
    },
  };
}
