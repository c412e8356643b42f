/** The rules of work items, told as tables. */
import assert from "node:assert/strict";
import { LIMITS } from "@millrace/contracts/work/values.ts";
import { suite } from "../../tests/harness/suite.ts";
import { ada, given, type Told, timeOf } from "../testing.ts";
import {
  comment0,
  finished,
  line0,
  line2,
  move,
  noted,
  open,
  opened,
  openedData,
  started,
  ticked,
  workflow,
} from "./fixtures/chore.ts";
import { movesWithGates } from "./gates.ts";
import { item } from "./item.ts";

const test = suite("work items");

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

test("deleting says what it was called", () => {
  given(item, [opened])
    .when({ do: "delete", seen: 1 })
    .happens(["ItemDeleted", { title: "Sweep" }]);
});

test.run();
