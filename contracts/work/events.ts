/**
 * What the world sees of work items and their types. Looser than the API's input: what once was said stays readable
 * when a limit changes. Who did it and when stand in the event's envelope.
 */
import * as Schema from "effect/Schema";
import type { PublicEvents } from "../events.ts";
import { GroupName, LinkedKindName, PriorityName, RelationName } from "./values.ts";

const text = (description: string) => Schema.String.annotate({ description });
const texts = (description: string) => Schema.Array(Schema.String).annotate({ description });

const group = Schema.Literals(GroupName.literals).annotate({ description: "What the state means" });
const line = text("The line's id");
const lineText = text("What the line says");
const comment = text("The comment's id");

const linked = Schema.Literals(LinkedKindName.literals).annotate({ description: "What the link leads to" });
const link = Schema.Struct({
  kind: linked,
  id: text("Its id"),
  relation: Schema.Literals(RelationName.literals).annotate({ description: "How the item stands to it" }),
  commit: Schema.optionalKey(text("Hash of a commit, or its beginning")),
});
const key = Schema.optionalKey(text("What automation knows the line by"));

export const ItemOpened = Schema.Struct({
  type: text("Name of the type of work"),
  title: text("Its title"),
  description: text("Markdown"),
  notesTemplate: text("What the notes begin as, by the type"),
  notes: Schema.optionalKey(text("What was written into the notes at once; left out: the template")),
  assignees: texts("Who is to do it"),
  labels: texts("Its labels"),
  priority: Schema.optionalKey(Schema.Literals(PriorityName.literals)),
  dueOn: Schema.optionalKey(text("`YYYY-MM-DD`")),
  state: text("Name of the state it begins in"),
  stateTitle: text("Title of that state"),
  group,
  checklist: Schema.Array(Schema.Struct({ id: line, text: lineText, required: Schema.Boolean, key })),
  links: Schema.optionalKey(Schema.Array(link)),
});
export const ItemRetitled = Schema.Struct({ title: text("The new title") });
export const ItemDescribed = Schema.Struct({ description: text("The new description") });
export const NotesWritten = Schema.Struct({ notes: text("The notes as they are now") });
export const PrioritySet = Schema.Struct({ priority: Schema.NullOr(Schema.Literals(PriorityName.literals)) });
export const DueDateSet = Schema.Struct({ dueOn: Schema.NullOr(text("`YYYY-MM-DD`")) });
export const ItemAssigned = Schema.Struct({ assignees: texts("Who was added") });
export const ItemUnassigned = Schema.Struct({ assignees: texts("Who was taken off") });
export const ItemLabelled = Schema.Struct({ labels: texts("Labels that were added") });
export const ItemUnlabelled = Schema.Struct({ labels: texts("Labels that were taken off") });
export const ItemLinked = Schema.Struct({ links: Schema.Array(link) });
export const ItemUnlinked = Schema.Struct({ links: Schema.Array(Schema.Struct({ kind: linked, id: text("Its id") })) });
export const ChecklistLineAdded = Schema.Struct({
  line,
  text: lineText,
  required: Schema.Boolean,
  index: Schema.Int.annotate({ description: "Its place in the list, from 0" }),
});
export const ChecklistLineTicked = Schema.Struct({ line, text: lineText });
export const ChecklistLineUnticked = Schema.Struct({ line, text: lineText });
export const ChecklistLineReworded = Schema.Struct({ line, from: lineText, text: lineText });
export const ChecklistLineMoved = Schema.Struct({
  line,
  text: lineText,
  index: Schema.Int.annotate({ description: "Its new place in the list, from 0" }),
});
export const ChecklistLineRemoved = Schema.Struct({ line, text: lineText });
export const ItemMoved = Schema.Struct({
  from: text("Name of the state it was in"),
  to: text("Name of the state it is in"),
  title: text("Title of the state it is in"),
  group,
  reopened: Schema.Boolean.annotate({ description: "It had been completed or cancelled, and is no more" }),
});
export const GateWaived = Schema.Struct({ gate: text("Name of the gate"), reason: text("Why it need not hold") });
export const ItemCommented = Schema.Struct({ comment, text: text("Markdown") });
export const CommentEdited = Schema.Struct({ comment, text: text("Markdown") });
export const CommentRemoved = Schema.Struct({ comment });
const attachment = text("The attachment's id");
const fileName = text("What the file is called");
export const AttachmentAdded = Schema.Struct({
  attachment,
  name: fileName,
  bytes: Schema.Int.annotate({ description: "How many bytes it has" }),
  sha256: text("SHA-256 of its bytes, in hexadecimal digits: where they lie"),
  mediaType: text("What kind of file it is said to be"),
});
export const AttachmentRemoved = Schema.Struct({ attachment, name: fileName });
export const ItemDeleted = Schema.Struct({ title: text("The title it had") });

export const itemEvents = {
  ItemOpened: { version: 1, data: ItemOpened, description: "A work item was opened." },
  ItemRetitled: { version: 1, data: ItemRetitled, description: "A work item has another title." },
  ItemDescribed: { version: 1, data: ItemDescribed, description: "The description of a work item was written." },
  NotesWritten: { version: 1, data: NotesWritten, description: "The notes of a work item were written." },
  PrioritySet: { version: 1, data: PrioritySet, description: "A work item has another priority, or none." },
  DueDateSet: { version: 1, data: DueDateSet, description: "A work item is due on another day, or on none." },
  ItemAssigned: { version: 1, data: ItemAssigned, description: "A work item was given to somebody." },
  ItemUnassigned: { version: 1, data: ItemUnassigned, description: "A work item was taken from somebody." },
  ItemLabelled: { version: 1, data: ItemLabelled, description: "A work item has further labels." },
  ItemUnlabelled: { version: 1, data: ItemUnlabelled, description: "A work item has fewer labels." },
  ItemLinked: { version: 1, data: ItemLinked, description: "A work item was linked to something else." },
  ItemUnlinked: { version: 1, data: ItemUnlinked, description: "Links of a work item were taken off." },
  ChecklistLineAdded: { version: 1, data: ChecklistLineAdded, description: "A line was added to a checklist." },
  ChecklistLineTicked: { version: 1, data: ChecklistLineTicked, description: "A line of a checklist is done." },
  ChecklistLineUnticked: {
    version: 1,
    data: ChecklistLineUnticked,
    description: "A line of a checklist is not done after all.",
  },
  ChecklistLineReworded: {
    version: 1,
    data: ChecklistLineReworded,
    description: "A line of a checklist says something else.",
  },
  ChecklistLineMoved: { version: 1, data: ChecklistLineMoved, description: "A line of a checklist has another place." },
  ChecklistLineRemoved: { version: 1, data: ChecklistLineRemoved, description: "A line was taken off a checklist." },
  ItemMoved: { version: 1, data: ItemMoved, description: "A work item went into another state." },
  GateWaived: { version: 1, data: GateWaived, description: "A gate was waived for a work item, with a reason." },
  ItemCommented: { version: 1, data: ItemCommented, description: "Somebody commented on a work item." },
  CommentEdited: { version: 1, data: CommentEdited, description: "A comment was edited by its author." },
  CommentRemoved: { version: 1, data: CommentRemoved, description: "A comment was removed." },
  AttachmentAdded: { version: 1, data: AttachmentAdded, description: "A file was attached to a work item." },
  AttachmentRemoved: { version: 1, data: AttachmentRemoved, description: "A file was taken off a work item." },
  ItemDeleted: { version: 1, data: ItemDeleted, description: "A work item was deleted." },
} satisfies PublicEvents;

const states = Schema.Array(Schema.Struct({ name: Schema.String, title: Schema.String, group }));
const transitions = Schema.Array(
  Schema.Struct({ from: Schema.String, to: Schema.String, title: Schema.optionalKey(Schema.String) }),
);
const checklist = Schema.Array(Schema.Struct({ text: Schema.String, required: Schema.Boolean, key }));
const notesRequired = Schema.Struct({ minLength: Schema.Int });
const gates = Schema.Record(group, Schema.optionalKey(Schema.Array(Schema.String))).annotate({
  description: "Gates by the group of states they stand before",
});
const title = text("Its title");
const description = text("Markdown");

export const TypeDefined = Schema.Struct({
  name: text("Unique name in the organisation"),
  title,
  description,
  states,
  initial: text("Name of the state an item begins in"),
  transitions,
  checklist,
  notesTemplate: text("Markdown"),
  notesRequired,
  gates,
});
export const TypeRetitled = Schema.Struct({ title, description });
export const WorkflowChanged = Schema.Struct({ states, initial: Schema.String, transitions });
export const ChecklistTemplateChanged = Schema.Struct({ checklist });
export const NotesTemplateChanged = Schema.Struct({ notesTemplate: Schema.String, notesRequired });
export const GatesChanged = Schema.Struct({ gates });
export const TypeDeleted = Schema.Struct({ name: Schema.String });

export const typeEvents = {
  TypeDefined: { version: 1, data: TypeDefined, description: "A type of work was defined." },
  TypeRetitled: { version: 1, data: TypeRetitled, description: "A type of work has another title or description." },
  WorkflowChanged: {
    version: 1,
    data: WorkflowChanged,
    description: "States or transitions of a type of work were changed.",
  },
  ChecklistTemplateChanged: {
    version: 1,
    data: ChecklistTemplateChanged,
    description: "New items of a type begin with another checklist.",
  },
  NotesTemplateChanged: {
    version: 1,
    data: NotesTemplateChanged,
    description: "New items of a type begin with other notes, or other notes are required.",
  },
  GatesChanged: { version: 1, data: GatesChanged, description: "The gates of a type of work were changed." },
  TypeDeleted: { version: 1, data: TypeDeleted, description: "A type of work was deleted." },
} satisfies PublicEvents;
