/** What must hold before a work item enters a group of states, and where it can go at all. */
import type { GateResult, Workflow } from "@millrace/contracts/work/entities.ts";
import type { GateName, Group } from "@millrace/contracts/work/values.ts";
import type { ItemState, Waiver } from "./item-state.ts";

interface Verdict {
  readonly ok: boolean;
  readonly reason: string;
  readonly fix?: string;
}

type Gate = (state: ItemState, workflow: Workflow) => Verdict;

const QUOTED_MOST = 3;

const checklistComplete: Gate = ({ checklist }) => {
  const open = checklist.filter((line) => line.required && !line.done);
  if (open.length === 0) {
    return { ok: true, reason: checklist.length === 0 ? "There is no checklist." : "Every required line is done." };
  }
  const quoted = open.slice(0, QUOTED_MOST).map((line) => `"${line.text}"`);
  const more = open.length > QUOTED_MOST ? ` and ${open.length - QUOTED_MOST} more` : "";
  return {
    ok: false,
    reason: `${open.length} required ${open.length === 1 ? "line" : "lines"} of the checklist not done: ${quoted.join(", ")}${more}.`,
    fix: "Do what the lines say, and tick them.",
  };
};

const notesPresent: Gate = (state, { notesRequired: { minLength } }) => {
  const length = [...state.notes.trim()].length;
  const least = Math.max(1, minLength);
  const fix = `Write at least ${least} characters of notes: what was done, and what the next person must know.`;
  if (length === 0) return { ok: false, reason: "The notes are empty.", fix };
  if (sameText(state.notes, state.notesTemplate)) {
    return { ok: false, reason: "The notes are still the template.", fix };
  }
  if (length < least) return { ok: false, reason: `The notes have ${length} of at least ${least} characters.`, fix };
  return { ok: true, reason: "The notes are written." };
};

/** White space is no writing: the template with other spaces is the template. */
const sameText = (a: string, b: string): boolean =>
  a.replaceAll(/\s+/g, " ").trim() === b.replaceAll(/\s+/g, " ").trim();

const GATES: Readonly<Record<GateName, Gate>> = {
  checklist_complete: checklistComplete,
  notes_present: notesPresent,
};

/** Every gate that a type of work asks for anywhere. */
export const gatesOf = (workflow: Workflow): ReadonlyArray<GateName> => [
  ...new Set(Object.values(workflow.gates).flatMap((gates) => gates ?? [])),
];

/** The gates between an item and a group of states; none when it is in that group already. A waived gate is open. */
export function evaluateGates(state: ItemState, workflow: Workflow, group: Group): ReadonlyArray<GateResult> {
  if (state.group === group) return [];
  return (workflow.gates[group] ?? []).map((gate) => {
    const { ok, reason, fix } = GATES[gate](state, workflow);
    const waived = state.waivers.find((waiver) => waiver.gate === gate);
    if (ok) return { gate, ok, reason, ...shown(waived) };
    if (waived !== undefined) {
      return { gate, ok: true, reason: `${reason} Waived by ${waived.by.name}: ${waived.reason}`, ...shown(waived) };
    }
    return fix === undefined ? { gate, ok, reason } : { gate, ok, reason, fix };
  });
}

const shown = (waiver: Waiver | undefined) =>
  waiver === undefined ? {} : { waived: { ...waiver, gate: waiver.gate as GateName } };

export interface Move {
  readonly to: string;
  readonly title: string;
  readonly group: Group;
}

/**
 * Where an item can go by its type, gates aside. An item whose state the type no longer has can go anywhere: a changed
 * type never locks work in.
 */
export function movesOf(state: Pick<ItemState, "state">, workflow: Workflow): ReadonlyArray<Move> {
  const known = workflow.states.some(({ name }) => name === state.state);
  return workflow.states.flatMap(({ name: to, title, group }) => {
    if (!known) return [{ to, title, group }];
    const way = workflow.transitions.find((transition) => transition.from === state.state && transition.to === to);
    return way === undefined ? [] : [{ to, title: way.title ?? title, group }];
  });
}

/** Every move with its gates: what a reader needs to know before trying. */
export const movesWithGates = (state: ItemState, workflow: Workflow) =>
  movesOf(state, workflow).map((move) => {
    const gates = evaluateGates(state, workflow, move.group);
    return { ...move, allowed: gates.every(({ ok }) => ok), gates };
  });
