/** The rules of a work item's checklist. */
import { LIMITS } from "@millrace/contracts/work/values.ts";
import { type Decision, type Refusal, rule } from "../decider.ts";
import * as field from "./fields.ts";
import type { ChangeLine, ChecklistCommand } from "./item-command.ts";
import type { ItemEvent, ItemState, Line } from "./item-state.ts";

type Answer = Decision<ItemEvent>;

const noLine: Refusal = { refused: "not-found", reason: "There is no such line in this checklist." };
const required = (line: Line) =>
  rule(
    "line-required-by-type",
    `The type of work requires the line "${line.text}".`,
    "Tick it when it is done, or have the gate checklist_complete waived with a reason.",
  );

export function decideChecklist(command: ChecklistCommand, { checklist }: ItemState): Answer {
  const { line: id } = command;
  const line = checklist.find((candidate) => candidate.id === id || candidate.key === id);
  if (command.do === "addLine") {
    const { text, required: isRequired = false, index = checklist.length } = command;
    const refusal = new field.Faults().check("/text", field.lineText, text).refusal();
    if (refusal !== undefined) return refusal;
    if (line !== undefined) {
      return {
        refused: "conflict",
        reason: "A line with this id exists already.",
        fix: "Use another Idempotency-Key.",
      };
    }
    if (checklist.length >= LIMITS.lines) {
      return rule("checklist-full", `A checklist has at most ${LIMITS.lines} lines.`, "Remove a line first.");
    }
    const place = clamp(index, checklist.length);
    return { events: [{ type: "ChecklistLineAdded", data: { line: id, text, required: isRequired, index: place } }] };
  }
  if (line === undefined) return noLine;
  if (command.do === "changeLine") return changeLine(command, line, checklist);
  if (line.required && line.fromType) return required(line);
  return { events: [{ type: "ChecklistLineRemoved", data: { line: line.id, text: line.text } }] };
}

function changeLine({ text, done, index }: ChangeLine, line: Line, checklist: ReadonlyArray<Line>): Answer {
  const refusal = new field.Faults().check("/text", field.lineText, text).refusal();
  if (refusal !== undefined) return refusal;
  const events: ItemEvent[] = [];
  const now = { line: line.id, text: text ?? line.text };
  if (now.text !== line.text) {
    if (line.required && line.fromType) return required(line);
    events.push({ type: "ChecklistLineReworded", data: { ...now, from: line.text } });
  }
  if (done === true && !line.done) events.push({ type: "ChecklistLineTicked", data: now });
  if (done === false && line.done) events.push({ type: "ChecklistLineUnticked", data: now });
  if (index !== undefined) {
    const place = clamp(index, checklist.length - 1);
    if (checklist[place] !== line) events.push({ type: "ChecklistLineMoved", data: { ...now, index: place } });
  }
  return { events };
}

const clamp = (index: number, last: number): number => Math.max(0, Math.min(Math.trunc(index), last));
