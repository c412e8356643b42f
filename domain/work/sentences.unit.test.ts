/** Every event of work, as a person reads it. */
import assert from "node:assert/strict";
import { suite } from "../../tests/harness/suite.ts";
import { excerpt, listed } from "../sentences.ts";
import { sentenceOf } from "../testing.ts";
import { work } from "./context.ts";

const test = suite("sentences of work");

const SENTENCES: Readonly<Record<string, string>> = {
  ItemOpened: 'opened the task "Renew the certificate"',
  ItemRetitled: 'renamed it to "Renew both certificates"',
  ItemDescribed: 'described it: "It runs out."',
  NotesWritten: 'wrote the notes: "Renewed for a year."',
  PrioritySet: "set the priority to urgent",
  DueDateSet: "made it due on 2027-01-31",
  ItemAssigned: "assigned it to ada",
  ItemUnassigned: "took it from ada",
  ItemLabelled: "labelled it urgent",
  ItemUnlabelled: "took off the label urgent",
  ItemLinked: "linked it to the application app_01kajzq4v0e8r9t2m5x7c3d6fg (commit 8f1b2c3)",
  ItemUnlinked: "took off the link to the application app_01kajzq4v0e8r9t2m5x7c3d6fg",
  ChecklistLineAdded: 'added the line "Restart the server" to the checklist',
  ChecklistLineTicked: 'ticked "Restart the server"',
  ChecklistLineUnticked: 'unticked "Restart the server"',
  ChecklistLineReworded: 'changed the line "Restart the server" to "Restart both servers"',
  ChecklistLineMoved: 'moved the line "Restart the server" to place 1',
  ChecklistLineRemoved: 'removed the line "Restart the server" from the checklist',
  ItemMoved: 'moved it to "In progress"',
  GateWaived: "waived the gate notes_present: It is written in the wiki",
  ItemCommented: 'commented: "The new one is in place."',
  CommentEdited: 'edited a comment: "The new one is in place, at last."',
  CommentRemoved: "removed a comment",
  AttachmentAdded: 'attached "front.jpg" (48213 bytes)',
  AttachmentRemoved: 'took off the attachment "front.jpg"',
  ItemDeleted: 'deleted "Renew the certificate"',
  TypeDefined: 'defined the type of work "Chore" (chore)',
  TypeRetitled: 'titled the type "Small chore", and described it',
  WorkflowChanged: "changed its states and transitions: To do, Done",
  ChecklistTemplateChanged: "changed its checklist to 1 line",
  NotesTemplateChanged: "changed its notes: at least 20 characters",
  GatesChanged: "changed its gates: checklist_complete and notes_present before completed",
  TypeDeleted: 'deleted the type of work "chore"',
};

test("each event's example reads like this, and none is left out", () => {
  const said: Record<string, string> = {};
  for (const kind of Object.values(work.kinds)) {
    for (const [type, { version, examples }] of Object.entries(kind.events)) {
      said[type] = sentenceOf(kind, type, examples[version]);
    }
  }
  assert.deepEqual(said, SENTENCES);
});

test("other turns of the same sentences", () => {
  const rows: ReadonlyArray<readonly [string, unknown, string]> = [
    ["ItemDescribed", { description: "" }, "emptied the description"],
    ["NotesWritten", { notes: "" }, "emptied the notes"],
    ["PrioritySet", { priority: null }, "took the priority off"],
    ["DueDateSet", { dueOn: null }, "took the due date off"],
    ["ItemAssigned", { assignees: ["ada", "ben", "eve"] }, "assigned it to ada, ben and eve"],
    ["ItemUnlabelled", { labels: ["a", "b"] }, "took off the labels a and b"],
    [
      "ItemMoved",
      { from: "done", to: "todo", title: "To do", group: "unstarted", reopened: true },
      'reopened it, and moved it to "To do"',
    ],
    [
      "ChecklistLineAdded",
      { line: "lin_1", text: "Try", required: true, index: 0 },
      'added the required line "Try" to the checklist',
    ],
  ];
  for (const [type, data, sentence] of rows) assert.equal(sentenceOf(work.kinds.item!, type, data), sentence);
  assert.equal(sentenceOf(work.kinds.type!, "GatesChanged", { gates: {} }), "changed its gates: none");
});

test("long texts are one line of eighty, never half a character", () => {
  assert.equal(excerpt(" a\n\n b "), "a b");
  assert.equal([...excerpt("😀".repeat(200))].length, 80);
  assert.equal(excerpt("😀".repeat(200)).isWellFormed(), true);
  assert.equal(listed([]), "nobody");
});

test.run();
