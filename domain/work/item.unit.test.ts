/** The rules of work items, told as tables. */
import assert from "node:assert/strict";
import type { Workflow } from "@millrace/contracts/work/entities.ts";
import { LIMITS } from "@millrace/contracts/work/values.ts";
import { suite } from "../../tests/harness/suite.ts";
import { ada, ben, given, type Told, timeOf } from "../testing.ts";
import { movesWithGates } from "./gates.ts";
import { item } from "./item.ts";

const test = suite("work items");

const workflow: Workflow = {
  name: "chore",
  title: "Chore",
  description: "",
  states: [
    { name: "later", title: "Later", group: "backlog" },
    { name: "todo", title: "To do", group: "unstarted" },
    { name: "doing", title: "Doing", group: "started" },
    { name: "done", title: "Done", group: "completed" },
    { name: "archived", title: "Archived", group: "completed" },
    { name: "dropped", title: "Dropped", group: "cancelled" },
  ],
  initial: "todo",
  transitions: [
    { from: "todo", to: "later" },
    { from: "later", to: "todo" },
    { from: "todo", to: "doing", title: "Start" },
    { from: "doing", to: "done", title: "Finish" },
    { from: "done", to: "archived" },
    { from: "done", to: "doing" },
    { from: "doing", to: "dropped" },
    { from: "dropped", to: "todo" },
  ],
  checklist: [
    { text: "Try it", required: true },
    { text: "Tell others", required: false },
  ],
  notesTemplate: "## What was done\n\n## What is left\n",
  notesRequired: { minLength: 10 },
  gates: { completed: ["checklist_complete", "notes_present"] },
};

const id = (prefix: string, n: number) => `${prefix}_01kajzq4v0e8r9t2m5x7c3d6f${n}`;
const [line0, line1, line2] = [id("lin", 0), id("lin", 1), id("lin", 2)];
const [comment0, comment1] = [id("cmt", 0), id("cmt", 1)];

const openedData = {
  type: "chore",
  title: "Sweep",
  description: "",
  notesTemplate: workflow.notesTemplate,
  assignees: [],
  labels: [],
  state: "todo",
  stateTitle: "To do",
  group: "unstarted",
  checklist: [
    { id: line0, text: "Try it", required: true },
    { id: line1, text: "Tell others", required: false },
  ],
};
const opened: Told = ["ItemOpened", openedData];
const move = (from: string, to: string, title: string, group: string, reopened = false): Told => [
  "ItemMoved",
  { from, to, title, group, reopened },
];
const started = move("todo", "doing", "Doing", "started");
const finished = move("doing", "done", "Done", "completed");
const ticked: Told = ["ChecklistLineTicked", { line: line0, text: "Try it" }];
const noted: Told = ["NotesWritten", { notes: "It was swept, all of it." }];
const open = { do: "open", title: "Sweep", workflow, lineIds: [line0, line1] } as const;

test("opening takes state, checklist and notes template from the type", () => {
  given(item, []).when(open).happens(opened);
  given(item, [])
    .when({
      ...open,
      description: "All",
      notes: "Mine",
      assignees: ["ada", "ada"],
      labels: ["b", "a"],
      priority: "low",
      dueOn: "2027-02-28",
    })
    .happens([
      "ItemOpened",
      {
        ...openedData,
        description: "All",
        notes: "Mine",
        assignees: ["ada"],
        labels: ["a", "b"],
        priority: "low",
        dueOn: "2027-02-28",
      },
    ]);
  const { state } = given(item, [opened]);
  assert.equal(state.notes, workflow.notesTemplate);
  assert.equal(state.createdBy?.name, "ada");
  assert.deepEqual(state.checklist[0], { id: line0, text: "Try it", required: true, fromType: true, done: false });
});

test("what is opened twice, without ids for its lines, or of a broken type is refused", () => {
  given(item, [opened]).when(open).isRefused({ refused: "conflict" });
  given(item, [opened, ["ItemDeleted", { title: "Sweep" }]])
    .when(open)
    .isRefused({ refused: "conflict" });
  given(item, [])
    .when({ ...open, lineIds: [line0, line0] })
    .isRefused({ pointers: ["/body/type"] });
  given(item, [])
    .when({ ...open, workflow: { ...workflow, initial: "gone" } })
    .isRefused({ pointers: ["/body/type"] });
});

test("what is not there cannot be changed", () => {
  given(item, []).when({ do: "delete" }).isRefused({ refused: "not-found" });
  given(item, [opened, ["ItemDeleted", { title: "Sweep" }]])
    .when({ do: "comment", comment: comment0, text: "Still there?" })
    .isRefused({ refused: "not-found" });
});

test("limits: what is too long or no text is refused with its place, never cut", () => {
  const rows: ReadonlyArray<readonly [object, ReadonlyArray<string>]> = [
    [{ title: "" }, ["/body/title"]],
    [{ title: " x" }, ["/body/title"]],
    [{ title: "a\nb" }, ["/body/title"]],
    [{ title: "a\u0007b" }, ["/body/title"]],
    [{ title: "\ud800" }, ["/body/title"]],
    [{ title: "x".repeat(LIMITS.title + 1) }, ["/body/title"]],
    [{ description: "x".repeat(LIMITS.textBytes + 1) }, ["/body/description"]],
    [{ description: "é".repeat(LIMITS.textBytes / 2 + 1) }, ["/body/description"]],
    [{ notes: "a\u0000b" }, ["/body/notes"]],
    [{ dueOn: "2027-02-29" }, ["/body/dueOn"]],
    [{ dueOn: "tomorrow" }, ["/body/dueOn"]],
    [{ labels: ["ok", "Not Ok"] }, ["/body/labels/1"]],
    [{ assignees: ["a b"] }, ["/body/assignees/0"]],
    [{ labels: Array.from({ length: 51 }, (_, i) => `l${i}`) }, ["/body/labels"]],
    [{ title: "", dueOn: "x" }, ["/body/title", "/body/dueOn"]],
  ];
  for (const [fields, pointers] of rows)
    given(item, [])
      .when({ ...open, ...fields })
      .isRefused({ pointers });
  const most = {
    title: "x".repeat(LIMITS.title),
    description: "é".repeat(LIMITS.textBytes / 2),
    notes: "a\tb\r\nc 😀",
  };
  given(item, [])
    .when({ ...open, ...most })
    .leads((state) => assert.equal(state.description, most.description));
});

test("a change says only what is other than before", () => {
  const story = [opened];
  given(item, story).when({ do: "change", title: "Sweep", description: "" }).happens();
  given(item, story)
    .when({ do: "change", title: "Mop", description: "All", notes: "Done", priority: "urgent", dueOn: "2027-01-31" })
    .happens(
      ["ItemRetitled", { title: "Mop" }],
      ["ItemDescribed", { description: "All" }],
      ["NotesWritten", { notes: "Done" }],
      ["PrioritySet", { priority: "urgent" }],
      ["DueDateSet", { dueOn: "2027-01-31" }],
    );
  given(item, [opened, ["PrioritySet", { priority: "urgent" }]])
    .when({ do: "change", priority: null, dueOn: null })
    .happens(["PrioritySet", { priority: null }]);
  given(item, story)
    .when({ do: "change", title: "a\u0000" })
    .isRefused({ pointers: ["/body/title"] });
});

test("the generation counts what was asked for, and a stale one is refused", () => {
  const { state } = given(item, [
    opened,
    ["ItemRetitled", { title: "Mop" }],
    ticked,
    started,
    ["ItemCommented", { comment: comment0, text: "Hi" }],
    ["GateWaived", { gate: "notes_present", reason: "Small" }],
  ]);
  assert.equal(state.generation, 2);
  given(item, [opened])
    .when({ do: "change", seen: 1, title: "Mop" })
    .happens(["ItemRetitled", { title: "Mop" }]);
  const stale = given(item, [opened, ["ItemRetitled", { title: "Mop" }]]);
  for (const command of [
    { do: "change", title: "x" },
    { do: "assign", assignees: ["ada"] },
    { do: "label", labels: ["x"] },
    { do: "addLine", line: line2, text: "x" },
    { do: "transition", to: "doing", workflow },
    { do: "waive", gate: "notes_present", reason: "x", workflow },
    { do: "comment", comment: comment0, text: "x" },
    { do: "delete" },
  ] as const) {
    stale.when({ ...command, seen: 1 }).isRefused({ refused: "precondition" });
  }
});

test("assignees and labels are sets with limits", () => {
  given(item, [opened])
    .when({ do: "assign", assignees: ["ada", "ben", "ada"] })
    .happens(["ItemAssigned", { assignees: ["ada", "ben"] }]);
  const story: Told[] = [
    opened,
    ["ItemAssigned", { assignees: ["ada", "ben"] }],
    ["ItemLabelled", { labels: ["x", "y"] }],
  ];
  given(item, story)
    .when({ do: "assign", assignees: ["ben", "eve"] })
    .happens(["ItemAssigned", { assignees: ["eve"] }]);
  given(item, story)
    .when({ do: "assign", assignees: ["ben"] })
    .happens();
  given(item, story)
    .when({ do: "unassign", assignees: ["ben", "zoe"] })
    .happens(["ItemUnassigned", { assignees: ["ben"] }]);
  given(item, story)
    .when({ do: "label", labels: ["a/b.c-d"] })
    .leads((state) => assert.deepEqual(state.labels, ["a/b.c-d", "x", "y"]));
  given(item, story)
    .when({ do: "unlabel", labels: ["x"] })
    .leads((state) => assert.deepEqual(state.labels, ["y"]));
  given(item, story)
    .when({ do: "label", labels: ["-x"] })
    .isRefused({ pointers: ["/body/labels/0"] });
  const many = Array.from({ length: LIMITS.assignees - 1 }, (_, i) => `p${i}`);
  given(item, story)
    .when({ do: "assign", assignees: many })
    .isRefused({ rule: "too-many-assignees", reason: /at most 20/ });
});

test("a checklist is added to, reworded, ticked, ordered and cut", () => {
  given(item, [opened])
    .when({ do: "addLine", line: line2, text: "Rest", index: 1 })
    .happens(["ChecklistLineAdded", { line: line2, text: "Rest", required: false, index: 1 }]);
  given(item, [opened])
    .when({ do: "addLine", line: line2, text: "Rest", required: true, index: 99 })
    .leads((state) => assert.equal(state.checklist[2]?.text, "Rest"));
  given(item, [opened]).when({ do: "addLine", line: line0, text: "Rest" }).isRefused({ refused: "conflict" });
  given(item, [opened])
    .when({ do: "addLine", line: line2, text: "" })
    .isRefused({ pointers: ["/body/text"] });
  given(item, [opened]).when({ do: "changeLine", line: line0, done: true }).happens(ticked);
  given(item, [opened, ticked]).when({ do: "changeLine", line: line0, done: true }).happens();
  given(item, [opened, ticked])
    .when({ do: "changeLine", line: line0, done: false })
    .happens(["ChecklistLineUnticked", { line: line0, text: "Try it" }]);
  given(item, [opened])
    .when({ do: "changeLine", line: line1, text: "Tell all", done: true })
    .happens(
      ["ChecklistLineReworded", { line: line1, from: "Tell others", text: "Tell all" }],
      ["ChecklistLineTicked", { line: line1, text: "Tell all" }],
    );
  given(item, [opened])
    .when({ do: "changeLine", line: line1, index: 0 })
    .leads((state) =>
      assert.deepEqual(
        state.checklist.map((line) => line.id),
        [line1, line0],
      ),
    );
  given(item, [opened]).when({ do: "changeLine", line: line1, index: 50 }).happens();
  given(item, [opened])
    .when({ do: "removeLine", line: line1 })
    .happens(["ChecklistLineRemoved", { line: line1, text: "Tell others" }]);
  for (const command of [
    { do: "changeLine", done: true },
    { do: "removeLine" },
    { do: "changeLine", index: 0 },
  ] as const) {
    given(item, [opened])
      .when({ ...command, line: line2 })
      .isRefused({ refused: "not-found" });
  }
  const { state } = given(item, [opened, ticked]);
  assert.deepEqual([state.checklist[0]?.doneBy, state.checklist[0]?.doneAt], [ada, timeOf(1)]);
});

test("a line that the type requires is ticked or waived, not removed or reworded; an own one may be", () => {
  given(item, [opened])
    .when({ do: "removeLine", line: line0 })
    .isRefused({ rule: "line-required-by-type", fix: /waived/ });
  given(item, [opened])
    .when({ do: "changeLine", line: line0, text: "Look at it" })
    .isRefused({ rule: "line-required-by-type" });
  const own: Told = ["ChecklistLineAdded", { line: line2, text: "Rest", required: true, index: 2 }];
  given(item, [opened, own])
    .when({ do: "removeLine", line: line2 })
    .happens(["ChecklistLineRemoved", { line: line2, text: "Rest" }]);
});

test("a full checklist takes no more", () => {
  const checklist = Array.from({ length: LIMITS.lines }, (_, i) => ({
    id: `lin_${String(i).padStart(26, "0")}`,
    text: "x",
    required: false,
  }));
  given(item, [["ItemOpened", { ...openedData, checklist }]])
    .when({ do: "addLine", line: line2, text: "x" })
    .isRefused({ rule: "checklist-full" });
});

test("it goes only where its type leads", () => {
  given(item, [opened]).when({ do: "transition", to: "doing", workflow }).happens(started);
  given(item, [opened]).when({ do: "transition", to: "todo", workflow }).happens();
  given(item, [opened])
    .when({ do: "transition", to: "nowhere", workflow })
    .isRefused({ rule: "unknown-state", fix: /"later", "todo", "doing"/ });
  given(item, [opened]).when({ do: "transition", to: "done", workflow }).isRefused({
    rule: "transition-not-allowed",
    reason: 'Type "chore" does not allow going from "todo" to "done".',
    fix: 'From here it may go to "later", "doing".',
  });
  const closed = { ...workflow, transitions: workflow.transitions.filter(({ from }) => from !== "todo") };
  given(item, [opened])
    .when({ do: "transition", to: "doing", workflow: closed })
    .isRefused({ fix: /Nothing leads on/ });
});

test("gates: completed needs the required lines and the notes, and says each that is missing and how", () => {
  const complete = { do: "transition", to: "done", workflow } as const;
  given(item, [opened, started])
    .when(complete)
    .isRefused({
      rule: "gates-not-satisfied",
      reason: /checklist_complete: 1 required line .*"Try it".*notes_present: The notes are still the template/,
      fix: /checklist_complete: .*tick.*notes_present: Write at least 10 characters.*waived/,
    });
  given(item, [opened, started, ticked])
    .when(complete)
    .isRefused({ reason: /^notes_present/ });
  given(item, [opened, started, noted])
    .when(complete)
    .isRefused({ reason: /^checklist_complete/ });
  given(item, [opened, started, ticked, ["NotesWritten", { notes: "## What was done\n## What is left" }]])
    .when(complete)
    .isRefused({ reason: /still the template/ });
  given(item, [opened, started, ticked, ["NotesWritten", { notes: "  \n " }]])
    .when(complete)
    .isRefused({ reason: /empty/ });
  given(item, [opened, started, ticked, ["NotesWritten", { notes: " 123456789 " }]])
    .when(complete)
    .isRefused({ reason: /9 of at least 10/ });
  given(item, [opened, started, ticked, noted]).when(complete).happens(finished);
});

test("a gate stands between groups, not between states of one", () => {
  const story = [
    opened,
    started,
    ticked,
    noted,
    finished,
    ["ChecklistLineUnticked", { line: line0, text: "Try it" }] as const,
  ];
  given(item, story)
    .when({ do: "transition", to: "archived", workflow })
    .happens(move("done", "archived", "Archived", "completed"));
});

test("a waived gate is open for ever, and seen for ever", () => {
  const waived: Told = ["GateWaived", { gate: "notes_present", reason: "It is in the wiki" }];
  given(item, [opened])
    .when({ do: "waive", gate: "notes_present", reason: "It is in the wiki", workflow })
    .happens(waived);
  given(item, [opened, started, ticked, waived]).when({ do: "transition", to: "done", workflow }).happens(finished);
  given(item, [opened, waived])
    .when({ do: "waive", gate: "notes_present", reason: "It is in the wiki", workflow })
    .happens();
  given(item, [opened, waived])
    .when({ do: "waive", gate: "notes_present", reason: "Other", workflow })
    .isRefused({ rule: "already-waived", reason: /ada.*wiki/ });
  given(item, [opened])
    .when({ do: "waive", gate: "magic", reason: "x", workflow })
    .isRefused({ rule: "unknown-gate", fix: /checklist_complete, notes_present/ });
  given(item, [opened])
    .when({ do: "waive", gate: "notes_present", reason: " ", workflow })
    .isRefused({ pointers: ["/body/reason"] });
  const { state } = given(item, [
    opened,
    started,
    ticked,
    waived,
    finished,
    move("done", "doing", "Doing", "started", true),
  ]);
  const [gate] = movesWithGates(state, workflow)
    .find(({ to }) => to === "done")!
    .gates.slice(1);
  assert.equal(gate?.ok, true);
  assert.match(gate!.reason, /still the template\. Waived by ada: It is in the wiki/);
  assert.deepEqual(gate?.waived, { gate: "notes_present", reason: "It is in the wiki", by: ada, at: timeOf(3) });
});

test("what was closed is reopened by a transition, and told so", () => {
  const story = [opened, started, ticked, noted, finished];
  assert.equal(given(item, story).state.completedAt, timeOf(4));
  given(item, story)
    .when({ do: "transition", to: "doing", workflow })
    .happens(move("done", "doing", "Doing", "started", true));
  const again = given(item, [...story, move("done", "doing", "Doing", "started", true)]).state;
  assert.deepEqual([again.completedAt, again.startedAt], [null, timeOf(1)]);
});

test("an item whose state its type no longer has can go anywhere the gates allow", () => {
  const without = {
    ...workflow,
    states: workflow.states.filter(({ name }) => name !== "todo"),
    transitions: workflow.transitions.filter(({ from, to }) => from !== "todo" && to !== "todo"),
  };
  given(item, [opened])
    .when({ do: "transition", to: "later", workflow: without })
    .happens(move("todo", "later", "Later", "backlog"));
  given(item, [opened])
    .when({ do: "transition", to: "done", workflow: without })
    .isRefused({ rule: "gates-not-satisfied" });
});

test("moves with their gates: what can be done from here", () => {
  const { state } = given(item, [opened, started, ticked]);
  const moves = movesWithGates(state, workflow);
  assert.deepEqual(
    moves.map(({ to, title, group, allowed }) => [to, title, group, allowed]),
    [
      ["done", "Finish", "completed", false],
      ["dropped", "Dropped", "cancelled", true],
    ],
  );
  assert.deepEqual(
    moves[0]!.gates.map(({ gate, ok }) => [gate, ok]),
    [
      ["checklist_complete", true],
      ["notes_present", false],
    ],
  );
});

test("comments: whoever wrote one edits it; a moderator may remove it", () => {
  const said: Told = ["ItemCommented", { comment: comment0, text: "Done?" }, ben];
  given(item, [opened])
    .when({ do: "comment", comment: comment0, text: "Done?" })
    .happens(["ItemCommented", { comment: comment0, text: "Done?" }]);
  given(item, [opened, said])
    .when({ do: "comment", comment: comment0, text: "Again" })
    .isRefused({ refused: "conflict" });
  given(item, [opened])
    .when({ do: "comment", comment: comment0, text: "" })
    .isRefused({ pointers: ["/body/text"] });
  given(item, [opened])
    .when({ do: "comment", comment: comment0, text: "x".repeat(LIMITS.commentBytes + 1) })
    .isRefused({ pointers: ["/body/text"] });
  const edit = { do: "editComment", comment: comment0, text: "Done!" } as const;
  given(item, [opened, said]).when(edit).isRefused({ rule: "not-the-author", reason: /ben/ });
  given(item, [opened, said])
    .when(edit, { actor: ben })
    .happens(["CommentEdited", { comment: comment0, text: "Done!" }]);
  given(item, [opened, said])
    .when({ ...edit, text: "Done?" }, { actor: ben })
    .happens();
  given(item, [opened, said])
    .when({ ...edit, comment: comment1 })
    .isRefused({ refused: "not-found" });
  const remove = { do: "removeComment", comment: comment0 } as const;
  given(item, [opened, said]).when(remove).isRefused({ rule: "not-the-author" });
  given(item, [opened, said])
    .when({ ...remove, moderator: true })
    .happens(["CommentRemoved", { comment: comment0 }]);
  given(item, [opened, said])
    .when(remove, { actor: ben })
    .leads((state) => assert.deepEqual([state.comments, state.threadBytes], [[], 0]));
  given(item, [opened]).when(remove).isRefused({ refused: "not-found" });
  const { state } = given(item, [opened, said, ["CommentEdited", { comment: comment0, text: "Done!" }, ben]]);
  assert.deepEqual(state.comments[0], {
    id: comment0,
    author: ben,
    text: "Done!",
    createdAt: timeOf(1),
    editedAt: timeOf(2),
  });
});

test("a thread is bounded in number and in bytes", () => {
  const text = "x".repeat(LIMITS.commentBytes);
  const big = Array.from(
    { length: LIMITS.threadBytes / LIMITS.commentBytes },
    (_, i): Told => ["ItemCommented", { comment: `cmt_${String(i).padStart(26, "0")}`, text }],
  );
  given(item, [opened, ...big])
    .when({ do: "comment", comment: comment0, text: "x" })
    .isRefused({ rule: "thread-full" });
  const last = big[0]![1] as { comment: string };
  given(item, [opened, ...big])
    .when({ do: "editComment", comment: last.comment, text: "shorter" })
    .leads((state) => assert.equal(state.threadBytes, LIMITS.threadBytes - text.length + 7));
  const many = Array.from(
    { length: LIMITS.comments },
    (_, i): Told => ["ItemCommented", { comment: `cmt_${String(i).padStart(26, "0")}`, text: "x" }],
  );
  given(item, [opened, ...many])
    .when({ do: "comment", comment: comment0, text: "x" })
    .isRefused({ rule: "thread-full" });
});

test("deleting says what it was called", () => {
  given(item, [opened])
    .when({ do: "delete", seen: 1 })
    .happens(["ItemDeleted", { title: "Sweep" }]);
});

test.run();
