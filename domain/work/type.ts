/** The type of work: an organisation's own definition of how a kind of work item goes. */
import type { Workflow } from "@millrace/contracts/work/entities.ts";
import * as shape from "@millrace/contracts/work/events.ts";
import type { Claim, Decider, Decision, Refusal } from "../decider.ts";
import type { EventDeclaration, Kind } from "../kind.ts";
import { first } from "../sentences.ts";
import { checkWorkflow } from "./type-check.ts";

export interface TypeState {
  readonly id: string;
  readonly exists: boolean;
  readonly organisation: string;
  readonly generation: number;
  /** Null until it is defined. */
  readonly spec: Workflow | null;
  readonly createdAt: string;
  readonly updatedAt: string;
}

export type TypeCommand =
  | { readonly do: "define"; readonly spec: Workflow }
  /** What is left out stays. The name is what items know it by: it does not change. */
  | { readonly do: "change"; readonly spec: Partial<Omit<Workflow, "name">>; readonly seen?: number }
  | { readonly do: "delete"; readonly seen?: number };

export type TypeEventType = keyof typeof shape.typeEvents;
export type TypeEvent = {
  [T in TypeEventType]: { readonly type: T; readonly data: (typeof shape)[T]["Type"] };
}[TypeEventType];

/** Where the name of a type is claimed: by it a type is found without a database. */
export const typeNameClaim = (organisation: string, name: string): Pick<Claim, "what" | "value"> => ({
  what: "type-name",
  value: `${organisation}/${name}`,
});

const holdName = (organisation: string, name: string, hold: boolean): Claim => ({
  ...typeNameClaim(organisation, name),
  hold,
  taken: {
    refused: "conflict",
    reason: `The organisation has a type of work called "${name}".`,
    fix: "Change that one, or choose another name.",
  },
});

const notThere: Refusal = { refused: "not-found", reason: "There is no such type of work." };

const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);

/** The events that lead from one definition to the other, by what belongs together. */
function changes(before: Workflow, after: Workflow): TypeEvent[] {
  const events: TypeEvent[] = [];
  const { title, description, states, initial, transitions, checklist, notesTemplate, notesRequired, gates } = after;
  if (title !== before.title || description !== before.description) {
    events.push({ type: "TypeRetitled", data: { title, description } });
  }
  if (!same([states, initial, transitions], [before.states, before.initial, before.transitions])) {
    events.push({ type: "WorkflowChanged", data: { states, initial, transitions } });
  }
  if (!same(checklist, before.checklist)) events.push({ type: "ChecklistTemplateChanged", data: { checklist } });
  if (notesTemplate !== before.notesTemplate || !same(notesRequired, before.notesRequired)) {
    events.push({ type: "NotesTemplateChanged", data: { notesTemplate, notesRequired } });
  }
  if (!same(gates, before.gates)) events.push({ type: "GatesChanged", data: { gates } });
  return events;
}

const decider: Decider<TypeState, TypeCommand, TypeEvent> = {
  initial: (id) => ({ id, exists: false, organisation: "", generation: 0, spec: null, createdAt: "", updatedAt: "" }),
  evolve: (before, event, { organisation, time }) => {
    const state = { ...before, generation: before.generation + 1, updatedAt: time };
    switch (event.type) {
      case "TypeDefined":
        return { ...state, exists: true, organisation, spec: event.data as Workflow, createdAt: time };
      case "TypeDeleted":
        return { ...state, exists: false };
      default:
        return { ...state, spec: { ...state.spec, ...event.data } as Workflow };
    }
  },
  decide: (command, state, { organisation }): Decision<TypeEvent> => {
    if (command.do === "define") {
      if (state.createdAt !== "") {
        return { refused: "conflict", reason: "This type exists already.", fix: "Use another Idempotency-Key." };
      }
      const { spec } = command;
      const claims = [holdName(organisation, spec.name, true)];
      return checkWorkflow(spec) ?? { events: [{ type: "TypeDefined", data: spec }], claims };
    }
    if (!state.exists || state.spec === null) return notThere;
    if (command.seen !== undefined && command.seen !== state.generation) {
      return { refused: "precondition", expected: command.seen, actual: state.generation };
    }
    if (command.do === "delete") {
      const { name } = state.spec;
      return { events: [{ type: "TypeDeleted", data: { name } }], claims: [holdName(organisation, name, false)] };
    }
    const after = { ...state.spec, ...command.spec, name: state.spec.name };
    return checkWorkflow(after) ?? { events: changes(state.spec, after) };
  },
};

const states = [
  { name: "todo", title: "To do", group: "unstarted" },
  { name: "done", title: "Done", group: "completed" },
] as const;
const transitions = [{ from: "todo", to: "done", title: "Finish" }];
const checklist = [{ text: "Tell the people who use it", required: true }];
const gates = { completed: ["checklist_complete", "notes_present"] };
const notes = { notesTemplate: "## What was done\n", notesRequired: { minLength: 20 } };

const declarations: Readonly<Record<TypeEventType, EventDeclaration>> = {
  TypeDefined: first(
    shape.TypeDefined,
    {
      name: "chore",
      title: "Chore",
      description: "",
      states,
      initial: "todo",
      transitions,
      checklist,
      ...notes,
      gates,
    },
    ({ name, title }) => `defined the type of work "${title}" (${name})`,
  ),
  TypeRetitled: first(
    shape.TypeRetitled,
    { title: "Small chore", description: "" },
    ({ title }) => `titled the type "${title}", and described it`,
  ),
  WorkflowChanged: first(
    shape.WorkflowChanged,
    { states, initial: "todo", transitions },
    (data) => `changed its states and transitions: ${data.states.map((state) => state.title).join(", ")}`,
  ),
  ChecklistTemplateChanged: first(
    shape.ChecklistTemplateChanged,
    { checklist },
    (data) => `changed its checklist to ${data.checklist.length} ${data.checklist.length === 1 ? "line" : "lines"}`,
  ),
  NotesTemplateChanged: first(
    shape.NotesTemplateChanged,
    notes,
    ({ notesRequired }) => `changed its notes: at least ${notesRequired.minLength} characters`,
  ),
  GatesChanged: first(
    shape.GatesChanged,
    { gates },
    (data) =>
      `changed its gates: ${
        Object.entries(data.gates)
          .map(([group, names]) => `${(names ?? []).join(" and ") || "none"} before ${group}`)
          .join(", ") || "none"
      }`,
  ),
  TypeDeleted: first(shape.TypeDeleted, { name: "chore" }, ({ name }) => `deleted the type of work "${name}"`),
};

export const type: Kind<TypeState, TypeCommand, TypeEvent> = {
  context: "work",
  kind: "type",
  prefix: "wty",
  collection: "work-types",
  decider,
  events: declarations,
  publicEvents: shape.typeEvents,
  generation: (state) => state.generation,
  exists: (state) => state.exists,
  represent: ({ id, organisation, generation, spec, createdAt, updatedAt }) => ({
    id,
    organisation,
    generation,
    spec,
    status: { builtIn: false },
    createdAt,
    updatedAt,
  }),
  nameClaim: typeNameClaim,
  stateVersion: 1,
};
