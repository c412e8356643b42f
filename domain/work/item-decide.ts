/** The rules of work items. */
import { bytesOf, LIMITS } from "@millrace/contracts/work/values.ts";
import { type Circumstances, type Decision, type Refusal, rule } from "../decider.ts";
import * as field from "./fields.ts";
import { evaluateGates, gatesOf, movesOf } from "./gates.ts";
import { decideAttachments } from "./item-attachments.ts";
import { decideChecklist } from "./item-checklist.ts";
import type {
  ChangeItem,
  CommentCommand,
  ItemCommand,
  ListCommand,
  OpenItem,
  TransitionItem,
  WaiveGate,
} from "./item-command.ts";
import { decideLinks, faultsOfLinks, linksOf } from "./item-links.ts";
import { type ItemEvent, type ItemState, isClosed } from "./item-state.ts";

type Answer = Decision<ItemEvent>;

const notThere: Refusal = { refused: "not-found", reason: "There is no such work item." };

export function decide(command: ItemCommand, state: ItemState, { actor }: Circumstances): Answer {
  if (command.do === "open") return open(command, state);
  if (!state.exists) return notThere;
  if (command.seen !== undefined && command.seen !== state.generation) {
    return { refused: "precondition", expected: command.seen, actual: state.generation };
  }
  switch (command.do) {
    case "change":
      return change(command, state);
    case "assign":
    case "unassign":
    case "label":
    case "unlabel":
      return list(command, state);
    case "addLine":
    case "changeLine":
    case "removeLine":
      return decideChecklist(command, state);
    case "link":
    case "unlink":
      return decideLinks(command, state);
    case "transition":
      return transition(command, state);
    case "waive":
      return waive(command, state);
    case "comment":
    case "editComment":
    case "removeComment":
      return discuss(command, state, actor.id);
    case "attach":
    case "detach":
      return decideAttachments(command, state);
    case "delete":
      return { events: [{ type: "ItemDeleted", data: { title: state.title } }] };
  }
}

function open(command: OpenItem, state: ItemState): Answer {
  if (state.createdAt !== "") {
    return { refused: "conflict", reason: "This work item exists already.", fix: "Use another Idempotency-Key." };
  }
  const { workflow, title, description = "", notes, priority, dueOn, lineIds } = command;
  const { assignees = [], labels = [], links = [] } = command;
  const faults = new field.Faults()
    .check("/title", field.title, title)
    .check("/description", field.longText, description)
    .check("/notes", field.longText, notes)
    .check("/dueOn", field.day, dueOn)
    .most("/assignees", assignees.length, LIMITS.assignees)
    .each("/assignees", field.assignee, assignees)
    .most("/labels", labels.length, LIMITS.labels)
    .each("/labels", field.label, labels);
  faultsOfLinks(links, state.id, faults);
  if (new Set(lineIds).size < workflow.checklist.length) {
    faults.add("/type", "the type's checklist has more lines than ids were made for");
  }
  const begin = workflow.states.find(({ name }) => name === workflow.initial);
  if (begin === undefined) faults.add("/type", `the type's initial state "${workflow.initial}" is none of its states`);
  if (faults.any || begin === undefined) return faults.refusal()!;
  const data = {
    type: workflow.name,
    title,
    description,
    notesTemplate: workflow.notesTemplate,
    ...(notes === undefined ? {} : { notes }),
    assignees: unique(assignees),
    labels: unique(labels).sort(),
    ...(priority === undefined ? {} : { priority }),
    ...(dueOn === undefined ? {} : { dueOn }),
    state: begin.name,
    stateTitle: begin.title,
    group: begin.group,
    checklist: workflow.checklist.map((line, i) => ({ id: lineIds[i]!, ...line })),
    ...(links.length === 0 ? {} : { links: linksOf(links) }),
  };
  return { events: [{ type: "ItemOpened", data }] };
}

function change(command: ChangeItem, state: ItemState): Answer {
  const { title, description, notes, priority, dueOn } = command;
  const refusal = new field.Faults()
    .check("/title", field.title, title)
    .check("/description", field.longText, description)
    .check("/notes", field.longText, notes)
    .check("/dueOn", field.day, dueOn)
    .refusal();
  if (refusal !== undefined) return refusal;
  const events: ItemEvent[] = [];
  if (title !== undefined && title !== state.title) events.push({ type: "ItemRetitled", data: { title } });
  if (description !== undefined && description !== state.description) {
    events.push({ type: "ItemDescribed", data: { description } });
  }
  if (notes !== undefined && notes !== state.notes) events.push({ type: "NotesWritten", data: { notes } });
  if (priority !== undefined && priority !== state.priority) events.push({ type: "PrioritySet", data: { priority } });
  if (dueOn !== undefined && dueOn !== state.dueOn) events.push({ type: "DueDateSet", data: { dueOn } });
  return { events };
}

/** Assignees and labels are sets: adding what is there, or taking what is not, changes nothing. */
function list(command: ListCommand, state: ItemState): Answer {
  const people = command.do === "assign" || command.do === "unassign";
  const what = people ? "assignees" : "labels";
  const given = "labels" in command ? command.labels : command.assignees;
  const refusal = new field.Faults()
    .most(`/${what}`, given.length, LIMITS[what])
    .each(`/${what}`, people ? field.assignee : field.label, given)
    .refusal();
  if (refusal !== undefined) return refusal;
  const held: ReadonlyArray<string> = state[what];
  const adding = command.do === "assign" || command.do === "label";
  const changed = unique(given).filter((one) => held.includes(one) !== adding);
  if (changed.length === 0) return { events: [] };
  if (adding && held.length + changed.length > LIMITS[what]) {
    return rule(
      `too-many-${what}`,
      `A work item has at most ${LIMITS[what]} ${what}; it would have ${held.length + changed.length}.`,
      `Take some ${what} off first.`,
    );
  }
  switch (command.do) {
    case "assign":
      return { events: [{ type: "ItemAssigned", data: { assignees: changed } }] };
    case "unassign":
      return { events: [{ type: "ItemUnassigned", data: { assignees: changed } }] };
    case "label":
      return { events: [{ type: "ItemLabelled", data: { labels: changed } }] };
    case "unlabel":
      return { events: [{ type: "ItemUnlabelled", data: { labels: changed } }] };
  }
}

function transition({ to, workflow }: TransitionItem, state: ItemState): Answer {
  const target = workflow.states.find(({ name }) => name === to);
  if (target === undefined) {
    return rule("unknown-state", `Type "${state.type}" has no state "${to}".`, `It has ${names(workflow.states)}.`);
  }
  if (to === state.state) return { events: [] };
  const moves = movesOf(state, workflow);
  if (!moves.some((move) => move.to === to)) {
    const ways = moves.map((move) => ({ name: move.to }));
    return rule(
      "transition-not-allowed",
      `Type "${state.type}" does not allow going from "${state.state}" to "${to}".`,
      ways.length === 0 ? `Nothing leads on from "${state.state}".` : `From here it may go to ${names(ways)}.`,
    );
  }
  const closed = evaluateGates(state, workflow, target.group).filter(({ ok }) => !ok);
  if (closed.length > 0) {
    return rule(
      "gates-not-satisfied",
      closed.map(({ gate, reason }) => `${gate}: ${reason}`).join(" "),
      `${closed.map(({ gate, fix }) => `${gate}: ${fix ?? "See its reason."}`).join(" ")} Or have it waived, with a reason.`,
    );
  }
  const reopened = isClosed(state.group) && !isClosed(target.group);
  return {
    events: [
      { type: "ItemMoved", data: { from: state.state, to, title: target.title, group: target.group, reopened } },
    ],
  };
}

const names = (all: ReadonlyArray<{ readonly name: string }>): string => all.map(({ name }) => `"${name}"`).join(", ");

function waive({ gate, reason, workflow }: WaiveGate, state: ItemState): Answer {
  const refusal = new field.Faults().check("/reason", field.reason, reason).refusal("Say why the gate need not hold.");
  if (refusal !== undefined) return refusal;
  const gates = gatesOf(workflow);
  if (!gates.some((known) => known === gate)) {
    return rule(
      "unknown-gate",
      `Type "${state.type}" has no gate "${gate}".`,
      gates.length === 0 ? "It has no gates: there is nothing to waive." : `Its gates are ${gates.join(", ")}.`,
    );
  }
  const earlier = state.waivers.find((waiver) => waiver.gate === gate);
  if (earlier !== undefined) {
    if (earlier.reason === reason) return { events: [] };
    return rule(
      "already-waived",
      `${earlier.by.name} has waived ${gate}: ${earlier.reason}`,
      "A waiver stays as it was given; add what there is to say as a comment.",
    );
  }
  return { events: [{ type: "GateWaived", data: { gate, reason } }] };
}

function discuss(command: CommentCommand, state: ItemState, actorId: string): Answer {
  const { comment: id } = command;
  const found = state.comments.find((comment) => comment.id === id);
  if (command.do === "removeComment") {
    if (found === undefined) return noComment;
    if (found.author.id !== actorId && command.moderator !== true) {
      return rule(
        "not-the-author",
        `${found.author.name} wrote this comment.`,
        "Ask somebody who may delete work items.",
      );
    }
    return { events: [{ type: "CommentRemoved", data: { comment: id } }] };
  }
  const { text } = command;
  const refusal = new field.Faults().check("/text", field.commentText, text).refusal();
  if (refusal !== undefined) return refusal;
  const size = state.threadBytes + bytesOf(text) - (found === undefined ? 0 : bytesOf(found.text));
  if (command.do === "editComment") {
    if (found === undefined) return noComment;
    if (found.author.id !== actorId) {
      return rule("not-the-author", `${found.author.name} wrote this comment.`, "Write a comment of your own.");
    }
    if (found.text === text) return { events: [] };
    return size > LIMITS.threadBytes ? full : { events: [{ type: "CommentEdited", data: { comment: id, text } }] };
  }
  if (found !== undefined) {
    return {
      refused: "conflict",
      reason: "A comment with this id exists already.",
      fix: "Use another Idempotency-Key.",
    };
  }
  if (state.comments.length >= LIMITS.comments || size > LIMITS.threadBytes) return full;
  return { events: [{ type: "ItemCommented", data: { comment: id, text } }] };
}

const noComment: Refusal = { refused: "not-found", reason: "There is no such comment on this work item." };
const full = rule(
  "thread-full",
  `A work item has at most ${LIMITS.comments} comments, and ${LIMITS.threadBytes} bytes of them.`,
  "Open another work item and go on there, or remove comments that are no longer needed.",
);

const unique = (all: ReadonlyArray<string>): string[] => [...new Set(all)];
