/** Events of a work item in the log: today's version, an example of each, and how a person would say it. */
import * as shape from "@millrace/contracts/work/events.ts";
import type { EventDeclaration } from "../kind.ts";
import { excerpt, first, listed } from "../sentences.ts";
import type { ItemEventType } from "./item-state.ts";

const line = "lin_01kajzq4v0e8r9t2m5x7c3d6fg";
const attachment = "att_01kajzq4v0e8r9t2m5x7c3d6fg";
const comment = "cmt_01kajzq4v0e8r9t2m5x7c3d6fg";

export const itemEventDeclarations: Readonly<Record<ItemEventType, EventDeclaration>> = {
  ItemOpened: first(
    shape.ItemOpened,
    {
      type: "task",
      title: "Renew the certificate",
      description: "It runs out on the first.",
      notesTemplate: "## What was done\n",
      assignees: ["ada"],
      labels: ["area/network"],
      priority: "high",
      dueOn: "2027-01-31",
      state: "todo",
      stateTitle: "To do",
      group: "unstarted",
      checklist: [{ id: line, text: "Tell the people who use it", required: true }],
    },
    ({ type, title }) => `opened the ${type} "${title}"`,
  ),
  ItemRetitled: first(
    shape.ItemRetitled,
    { title: "Renew both certificates" },
    ({ title }) => `renamed it to "${title}"`,
  ),
  ItemDescribed: first(shape.ItemDescribed, { description: "It runs out." }, ({ description }) =>
    description === "" ? "emptied the description" : `described it: "${excerpt(description)}"`,
  ),
  NotesWritten: first(shape.NotesWritten, { notes: "Renewed for a year." }, ({ notes }) =>
    notes === "" ? "emptied the notes" : `wrote the notes: "${excerpt(notes)}"`,
  ),
  PrioritySet: first(shape.PrioritySet, { priority: "urgent" }, ({ priority }) =>
    priority === null ? "took the priority off" : `set the priority to ${priority}`,
  ),
  DueDateSet: first(shape.DueDateSet, { dueOn: "2027-01-31" }, ({ dueOn }) =>
    dueOn === null ? "took the due date off" : `made it due on ${dueOn}`,
  ),
  ItemAssigned: first(
    shape.ItemAssigned,
    { assignees: ["ada"] },
    ({ assignees }) => `assigned it to ${listed(assignees)}`,
  ),
  ItemUnassigned: first(
    shape.ItemUnassigned,
    { assignees: ["ada"] },
    ({ assignees }) => `took it from ${listed(assignees)}`,
  ),
  ItemLabelled: first(shape.ItemLabelled, { labels: ["urgent"] }, ({ labels }) => `labelled it ${listed(labels)}`),
  ItemUnlabelled: first(
    shape.ItemUnlabelled,
    { labels: ["urgent"] },
    ({ labels }) => `took off the ${labels.length === 1 ? "label" : "labels"} ${listed(labels)}`,
  ),
  ItemLinked: first(
    shape.ItemLinked,
    { links: [{ kind: "application", id: "app_01kajzq4v0e8r9t2m5x7c3d6fg", relation: "changes", commit: "8f1b2c3" }] },
    ({ links }) =>
      `linked it to ${listed(links.map(({ kind, id, commit }) => `the ${kind} ${id}${commit === undefined ? "" : ` (commit ${commit.slice(0, 12)})`}`))}`,
  ),
  ItemUnlinked: first(
    shape.ItemUnlinked,
    { links: [{ kind: "application", id: "app_01kajzq4v0e8r9t2m5x7c3d6fg" }] },
    ({ links }) => `took off the link to ${listed(links.map(({ kind, id }) => `the ${kind} ${id}`))}`,
  ),
  ChecklistLineAdded: first(
    shape.ChecklistLineAdded,
    { line, text: "Restart the server", required: false, index: 1 },
    ({ text, required }) => `added the ${required ? "required line" : "line"} "${text}" to the checklist`,
  ),
  ChecklistLineTicked: first(
    shape.ChecklistLineTicked,
    { line, text: "Restart the server" },
    ({ text }) => `ticked "${text}"`,
  ),
  ChecklistLineUnticked: first(
    shape.ChecklistLineUnticked,
    { line, text: "Restart the server" },
    ({ text }) => `unticked "${text}"`,
  ),
  ChecklistLineReworded: first(
    shape.ChecklistLineReworded,
    { line, from: "Restart the server", text: "Restart both servers" },
    ({ from, text }) => `changed the line "${from}" to "${text}"`,
  ),
  ChecklistLineMoved: first(
    shape.ChecklistLineMoved,
    { line, text: "Restart the server", index: 0 },
    ({ text, index }) => `moved the line "${text}" to place ${index + 1}`,
  ),
  ChecklistLineRemoved: first(
    shape.ChecklistLineRemoved,
    { line, text: "Restart the server" },
    ({ text }) => `removed the line "${text}" from the checklist`,
  ),
  ItemMoved: first(
    shape.ItemMoved,
    { from: "todo", to: "in-progress", title: "In progress", group: "started", reopened: false },
    ({ title, reopened }) => `${reopened ? "reopened it, and moved it" : "moved it"} to "${title}"`,
  ),
  GateWaived: first(
    shape.GateWaived,
    { gate: "notes_present", reason: "It is written in the wiki" },
    ({ gate, reason }) => `waived the gate ${gate}: ${excerpt(reason)}`,
  ),
  ItemCommented: first(
    shape.ItemCommented,
    { comment, text: "The new one is in place." },
    ({ text }) => `commented: "${excerpt(text)}"`,
  ),
  CommentEdited: first(
    shape.CommentEdited,
    { comment, text: "The new one is in place, at last." },
    ({ text }) => `edited a comment: "${excerpt(text)}"`,
  ),
  CommentRemoved: first(shape.CommentRemoved, { comment }, () => "removed a comment"),
  AttachmentAdded: first(
    shape.AttachmentAdded,
    { attachment, name: "front.jpg", bytes: 48_213, sha256: "9f86d081".repeat(8), mediaType: "image/jpeg" },
    ({ name, bytes }) => `attached "${name}" (${bytes} bytes)`,
  ),
  AttachmentRemoved: first(
    shape.AttachmentRemoved,
    { attachment, name: "front.jpg" },
    ({ name }) => `took off the attachment "${name}"`,
  ),
  ItemDeleted: first(shape.ItemDeleted, { title: "Renew the certificate" }, ({ title }) => `deleted "${title}"`),
};
