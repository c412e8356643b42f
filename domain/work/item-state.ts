/** A work item as folded from its events. */
import type { Link } from "@millrace/contracts/work/entities.ts";
import type * as events from "@millrace/contracts/work/events.ts";
import type { Group, Priority } from "@millrace/contracts/work/values.ts";
import { bytesOf } from "@millrace/contracts/work/values.ts";
import type { Actor, EventMeta } from "../decider.ts";

type Data = typeof events;
export type ItemEventType = keyof typeof events.itemEvents;
export type ItemEvent = {
  [T in ItemEventType]: { readonly type: T; readonly data: Data[T]["Type"] };
}[ItemEventType];

export interface Line {
  readonly id: string;
  readonly text: string;
  readonly required: boolean;
  /** What automation knows it by. */
  readonly key?: string;
  /** Came with the type: a required one is waived, not removed or reworded. */
  readonly fromType: boolean;
  readonly done: boolean;
  readonly doneBy?: Actor;
  readonly doneAt?: string;
}

export interface Comment {
  readonly id: string;
  readonly author: Actor;
  readonly text: string;
  readonly createdAt: string;
  readonly editedAt?: string;
}

export interface Attachment {
  readonly id: string;
  readonly name: string;
  readonly bytes: number;
  readonly sha256: string;
  readonly mediaType: string;
  readonly addedBy: Actor;
  readonly addedAt: string;
}

export interface Waiver {
  readonly gate: string;
  readonly reason: string;
  readonly by: Actor;
  readonly at: string;
}

export interface ItemState {
  readonly id: string;
  readonly exists: boolean;
  readonly organisation: string;
  readonly generation: number;
  readonly type: string;
  readonly title: string;
  readonly description: string;
  readonly notes: string;
  /** What the notes were before anybody wrote them. */
  readonly notesTemplate: string;
  readonly assignees: ReadonlyArray<string>;
  readonly labels: ReadonlyArray<string>;
  readonly priority: Priority | null;
  readonly dueOn: string | null;
  readonly state: string;
  readonly stateTitle: string;
  readonly group: Group;
  readonly startedAt: string | null;
  readonly completedAt: string | null;
  readonly checklist: ReadonlyArray<Line>;
  readonly comments: ReadonlyArray<Comment>;
  /** Bytes of all comments. */
  readonly threadBytes: number;
  readonly attachments: ReadonlyArray<Attachment>;
  readonly waivers: ReadonlyArray<Waiver>;
  readonly links: ReadonlyArray<Link>;
  readonly createdAt: string;
  readonly createdBy: Actor | null;
  readonly updatedAt: string;
}

export const initial = (id: string): ItemState => ({
  id,
  exists: false,
  organisation: "",
  generation: 0,
  type: "",
  title: "",
  description: "",
  notes: "",
  notesTemplate: "",
  assignees: [],
  labels: [],
  priority: null,
  dueOn: null,
  state: "",
  stateTitle: "",
  group: "backlog",
  startedAt: null,
  completedAt: null,
  checklist: [],
  comments: [],
  threadBytes: 0,
  attachments: [],
  waivers: [],
  links: [],
  createdAt: "",
  createdBy: null,
  updatedAt: "",
});

export const isClosed = (group: Group): boolean => group === "completed" || group === "cancelled";

export function evolve(before: ItemState, event: ItemEvent, meta: EventMeta): ItemState {
  const state = { ...before, updatedAt: meta.time };
  /** Changes of what was asked for: they count. */
  const asked = (change: Partial<ItemState>): ItemState => ({ ...state, ...change, generation: state.generation + 1 });
  switch (event.type) {
    case "ItemOpened":
      return opened(state, event.data, meta);
    case "ItemRetitled":
      return asked({ title: event.data.title });
    case "ItemDescribed":
      return asked({ description: event.data.description });
    case "NotesWritten":
      return asked({ notes: event.data.notes });
    case "PrioritySet":
      return asked({ priority: event.data.priority });
    case "DueDateSet":
      return asked({ dueOn: event.data.dueOn });
    case "ItemAssigned":
      return asked({ assignees: [...state.assignees, ...event.data.assignees] });
    case "ItemUnassigned":
      return asked({ assignees: without(state.assignees, event.data.assignees) });
    case "ItemLabelled":
      return asked({ labels: [...state.labels, ...event.data.labels].sort() });
    case "ItemUnlabelled":
      return asked({ labels: without(state.labels, event.data.labels) });
    case "ItemLinked":
      return asked({ links: [...unlinked(state.links, event.data.links), ...event.data.links] });
    case "ItemUnlinked":
      return asked({ links: unlinked(state.links, event.data.links) });
    case "ChecklistLineAdded":
    case "ChecklistLineReworded":
    case "ChecklistLineMoved":
    case "ChecklistLineRemoved":
      return asked({ checklist: relisted(state.checklist, event) });
    case "ChecklistLineTicked":
    case "ChecklistLineUnticked":
      return { ...state, checklist: ticked(state.checklist, event, meta) };
    case "ItemMoved":
      return { ...state, ...moved(state, event.data, meta.time) };
    case "GateWaived":
      return { ...state, waivers: [...state.waivers, { ...event.data, by: meta.actor, at: meta.time }] };
    case "ItemCommented":
    case "CommentEdited":
    case "CommentRemoved":
      return { ...state, ...discussed(state, event, meta) };
    case "AttachmentAdded": {
      const { attachment: id, ...rest } = event.data;
      const added = { id, ...rest, addedBy: meta.actor, addedAt: meta.time };
      return { ...state, attachments: [...state.attachments, added] };
    }
    case "AttachmentRemoved":
      return { ...state, attachments: state.attachments.filter(({ id }) => id !== event.data.attachment) };
    case "ItemDeleted":
      return { ...state, exists: false };
  }
}

function opened(state: ItemState, data: Data["ItemOpened"]["Type"], meta: EventMeta): ItemState {
  const { checklist, notes = data.notesTemplate, priority = null, dueOn = null, ...rest } = data;
  return {
    ...initial(state.id),
    ...rest,
    notes,
    priority,
    dueOn,
    exists: true,
    organisation: meta.organisation,
    generation: state.generation + 1,
    checklist: checklist.map((line) => ({ ...line, fromType: true, done: false })),
    startedAt: data.group === "started" ? meta.time : null,
    createdAt: meta.time,
    createdBy: meta.actor,
    updatedAt: meta.time,
  };
}

function moved(state: ItemState, { to, title, group }: Data["ItemMoved"]["Type"], time: string): Partial<ItemState> {
  return {
    state: to,
    stateTitle: title,
    group,
    startedAt: state.startedAt ?? (group === "started" || group === "completed" ? time : null),
    completedAt: group !== "completed" ? null : state.group === "completed" ? state.completedAt : time,
  };
}

type Of<T extends ItemEventType> = Extract<ItemEvent, { type: T }>;

function relisted(
  lines: ReadonlyArray<Line>,
  event: Of<"ChecklistLineAdded" | "ChecklistLineReworded" | "ChecklistLineMoved" | "ChecklistLineRemoved">,
): ReadonlyArray<Line> {
  const { line: id } = event.data;
  switch (event.type) {
    case "ChecklistLineAdded": {
      const { text, required, index } = event.data;
      return lines.toSpliced(index, 0, { id, text, required, fromType: false, done: false });
    }
    case "ChecklistLineReworded":
      return lines.map((line) => (line.id === id ? { ...line, text: event.data.text } : line));
    case "ChecklistLineMoved": {
      const line = lines.find((candidate) => candidate.id === id);
      if (line === undefined) return lines;
      return lines.filter((candidate) => candidate !== line).toSpliced(event.data.index, 0, line);
    }
    case "ChecklistLineRemoved":
      return lines.filter((line) => line.id !== id);
  }
}

const ticked = (
  lines: ReadonlyArray<Line>,
  { type, data }: Of<"ChecklistLineTicked" | "ChecklistLineUnticked">,
  meta: EventMeta,
): ReadonlyArray<Line> =>
  lines.map((line) => {
    if (line.id !== data.line) return line;
    const { doneBy: _by, doneAt: _at, ...rest } = line;
    return type === "ChecklistLineTicked"
      ? { ...rest, done: true, doneBy: meta.actor, doneAt: meta.time }
      : { ...rest, done: false };
  });

function discussed(
  { comments, threadBytes }: ItemState,
  event: Of<"ItemCommented" | "CommentEdited" | "CommentRemoved">,
  meta: EventMeta,
): Pick<ItemState, "comments" | "threadBytes"> {
  const { comment: id } = event.data;
  const bytes = threadBytes - bytesOf(comments.find((one) => one.id === id)?.text ?? "");
  switch (event.type) {
    case "ItemCommented": {
      const comment = { id, author: meta.actor, text: event.data.text, createdAt: meta.time };
      return { comments: [...comments, comment], threadBytes: bytes + bytesOf(event.data.text) };
    }
    case "CommentEdited": {
      const { text } = event.data;
      const edited = comments.map((one) => (one.id === id ? { ...one, text, editedAt: meta.time } : one));
      return { comments: edited, threadBytes: bytes + bytesOf(text) };
    }
    case "CommentRemoved":
      return { comments: comments.filter((one) => one.id !== id), threadBytes: bytes };
  }
}

type End = Pick<Link, "kind" | "id">;
const unlinked = (links: ReadonlyArray<Link>, gone: ReadonlyArray<End>): ReadonlyArray<Link> =>
  links.filter((link) => !gone.some(({ kind, id }) => kind === link.kind && id === link.id));

const without = (all: ReadonlyArray<string>, some: ReadonlyArray<string>): ReadonlyArray<string> =>
  all.filter((one) => !some.includes(one));

/** The entity as the API shows it. */
export function represent(state: ItemState): unknown {
  const { checklist, comments } = state;
  return {
    id: state.id,
    organisation: state.organisation,
    generation: state.generation,
    spec: {
      type: state.type,
      title: state.title,
      description: state.description,
      notes: state.notes,
      assignees: state.assignees,
      labels: state.labels,
      ...(state.priority === null ? {} : { priority: state.priority }),
      ...(state.dueOn === null ? {} : { dueOn: state.dueOn }),
      links: state.links,
    },
    status: {
      state: state.state,
      stateTitle: state.stateTitle,
      group: state.group,
      ...(state.startedAt === null ? {} : { startedAt: state.startedAt }),
      ...(state.completedAt === null ? {} : { completedAt: state.completedAt }),
      checklist: {
        lines: checklist.length,
        done: checklist.filter((line) => line.done).length,
        requiredOpen: checklist.filter((line) => line.required && !line.done).length,
      },
      comments: comments.length,
      attachments: state.attachments.length,
    },
    checklist,
    comments,
    attachments: state.attachments,
    waivers: state.waivers,
    createdAt: state.createdAt,
    createdBy: state.createdBy,
    updatedAt: state.updatedAt,
  };
}
