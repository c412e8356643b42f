/** The rules of a work item's checklist and comments, told as tables. */
import assert from "node:assert/strict";
import { LIMITS } from "@millrace/contracts/work/values.ts";
import { suite } from "../../tests/harness/suite.ts";
import { ada, ben, given, type Told, timeOf } from "../testing.ts";
import { comment0, comment1, line0, line1, line2, opened, openedData, ticked } from "./fixtures/chore.ts";
import { item } from "./item.ts";

const test = suite("checklists and comments");

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

const app = "app_00000000000000000000000001";
const linked: Told = ["ItemLinked", { links: [{ kind: "application", id: app, relation: "changes" }] }];

test("what automation does, it does to a line by its key", () => {
  const keyed: Told = [
    "ItemOpened",
    { ...openedData, checklist: [{ id: line0, text: "Deployed", required: true, key: "deployed" }] },
  ];
  given(item, [keyed])
    .when({ do: "changeLine", line: "deployed", done: true })
    .happens(["ChecklistLineTicked", { line: line0, text: "Deployed" }]);
  given(item, [opened]).when({ do: "changeLine", line: "deployed", done: true }).isRefused({ refused: "not-found" });
});

test("links: one to each end, bounded, with what can be one", () => {
  given(item, [opened])
    .when({ do: "link", links: [{ kind: "application", id: app, relation: "changes" }] })
    .happens(linked);
  given(item, [opened, linked])
    .when({ do: "link", links: [{ kind: "application", id: app, relation: "changes" }] })
    .happens();
  given(item, [opened, linked])
    .when({ do: "link", links: [{ kind: "application", id: app, commit: "8f1b2c3" }] })
    .leads((state) =>
      assert.deepEqual(state.links, [{ kind: "application", id: app, relation: "relates-to", commit: "8f1b2c3" }]),
    );
  given(item, [opened, linked])
    .when({ do: "unlink", links: [{ kind: "application", id: app }] })
    .happens(["ItemUnlinked", { links: [{ kind: "application", id: app }] }]);
  given(item, [opened])
    .when({ do: "unlink", links: [{ kind: "application", id: app }] })
    .happens();
  given(item, [opened])
    .when({
      do: "link",
      links: [
        { kind: "deployment", id: app },
        { kind: "application", id: app, commit: "main" },
      ],
    })
    .isRefused({ pointers: ["/body/links/0/id", "/body/links/1/commit"] });
  const many = Array.from({ length: LIMITS.links }, (_, i) => ({
    kind: "application" as const,
    id: `app_${String(i + 5).padStart(26, "0")}`,
  }));
  given(item, [opened, linked]).when({ do: "link", links: many }).isRefused({ rule: "too-many-links" });
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

test.run();
