/** Whether a type of work makes sense: every state can be reached, and something can be completed. */
import type { Workflow } from "@millrace/contracts/work/entities.ts";
import { GATES, LIMITS } from "@millrace/contracts/work/values.ts";
import type { Refusal } from "../decider.ts";
import * as field from "./fields.ts";
import { isClosed } from "./item-state.ts";

const NOTES_LENGTH_MOST = 10_000;

/** @returns what is wrong, place by place, with one sentence on what to do; undefined when all is well */
export function checkWorkflow(workflow: Workflow): Refusal | undefined {
  const faults = new field.Faults()
    .check("/name", field.name, workflow.name)
    .check("/title", field.title, workflow.title)
    .check("/description", field.longText, workflow.description)
    .check("/notesTemplate", field.longText, workflow.notesTemplate)
    .most("/checklist", workflow.checklist.length, LIMITS.lines)
    .each(
      "/checklist",
      field.lineText,
      workflow.checklist.map(({ text }) => text),
    );
  for (const [i, { key }] of workflow.checklist.entries()) {
    faults.check(`/checklist/${i}/key`, field.name, key);
    if (key !== undefined && workflow.checklist.findIndex((line) => line.key === key) !== i) {
      faults.add(`/checklist/${i}/key`, `another line has the key "${key}"`);
    }
  }
  const { minLength } = workflow.notesRequired;
  if (!Number.isInteger(minLength) || minLength < 0 || minLength > NOTES_LENGTH_MOST) {
    faults.add("/notesRequired/minLength", `a whole number from 0 to ${NOTES_LENGTH_MOST}`);
  }
  checkGates(workflow, faults);
  if (faults.any) return faults.refusal();
  return checkStates(workflow) ?? checkTransitions(workflow) ?? checkWays(workflow);
}

function checkGates({ gates }: Workflow, faults: field.Faults): void {
  for (const [group, names] of Object.entries(gates)) {
    for (const [i, name] of (names ?? []).entries()) {
      if (!Object.hasOwn(GATES, name))
        faults.add(`/gates/${group}/${i}`, `no such gate; there are ${Object.keys(GATES).join(", ")}`);
      if (names?.indexOf(name) !== i) faults.add(`/gates/${group}/${i}`, "named twice for this group");
    }
  }
}

function checkStates({ states, initial }: Workflow): Refusal | undefined {
  const faults = new field.Faults().most("/states", states.length, LIMITS.states);
  for (const [i, { name, title }] of states.entries()) {
    faults.check(`/states/${i}/name`, field.name, name).check(`/states/${i}/title`, field.title, title);
    if (states.findIndex((other) => other.name === name) !== i) {
      faults.add(`/states/${i}/name`, `another state is called "${name}"`);
    }
  }
  if (faults.any) return faults.refusal("Give every state a name of its own.");
  const begin = states.find(({ name }) => name === initial);
  if (begin === undefined) {
    return faults.add("/initial", `no state is called "${initial}"`).refusal(`Name one of ${named(states)}.`);
  }
  if (isClosed(begin.group)) {
    return faults
      .add("/initial", `"${initial}" is in group ${begin.group}: items would be closed before they begin`)
      .refusal("Begin in a state of group backlog, unstarted or started.");
  }
  if (!states.some(({ group }) => group === "completed")) {
    return faults
      .add("/states", "no state is in group completed: nothing could be completed")
      .refusal("Add a state of group completed, and a transition to it.");
  }
  return undefined;
}

function checkTransitions({ states, transitions }: Workflow): Refusal | undefined {
  const faults = new field.Faults().most("/transitions", transitions.length, LIMITS.transitions);
  const known = new Set(states.map(({ name }) => name));
  const ways = new Set<string>();
  for (const [i, { from, to, title }] of transitions.entries()) {
    if (!known.has(from)) faults.add(`/transitions/${i}/from`, `no state is called "${from}"`);
    if (!known.has(to)) faults.add(`/transitions/${i}/to`, `no state is called "${to}"`);
    if (from === to) faults.add(`/transitions/${i}/to`, `it leads from "${from}" to itself`);
    if (ways.has(`${from} ${to}`)) faults.add(`/transitions/${i}`, `"${from}" to "${to}" is there already`);
    faults.check(`/transitions/${i}/title`, field.title, title);
    ways.add(`${from} ${to}`);
  }
  return faults.refusal(`Transitions lead from one of ${named(states)} to another, each once.`);
}

function checkWays({ states, initial, transitions }: Workflow): Refusal | undefined {
  const reached = new Set([initial]);
  for (const name of reached) {
    for (const { from, to } of transitions) if (from === name) reached.add(to);
  }
  const faults = new field.Faults();
  for (const [i, { name }] of states.entries()) {
    if (!reached.has(name)) faults.add(`/states/${i}`, `"${name}" cannot be reached from "${initial}"`);
  }
  return faults.refusal("Add transitions that lead there, or remove the state.");
}

const named = (states: Workflow["states"]): string => states.map(({ name }) => `"${name}"`).join(", ");
