/** What is printed, in each form, whatever is in it. */
import { PassThrough } from "node:stream";
import * as assert from "uvu/assert";
import { suite } from "../tests/harness/suite.ts";
import { failureOfAnswer } from "./failure.ts";
import { type Io, oneLine, plain } from "./io.ts";
import { facts, outline, printList, printOne, table } from "./output.ts";
import { failureAsJson } from "./run.ts";
import type { Format } from "./table.ts";

const test = suite("output");

interface Row {
  readonly id: string;
  readonly title: string;
}

const shown = [
  { title: "id", value: (row: Row) => row.id },
  { title: "title", value: (row: Row) => row.title },
];
const rows: Row[] = [
  { id: "a", title: "first" },
  { id: "bb", title: "second" },
];

function sink(): { io: Io; text: () => string } {
  const chunks: string[] = [];
  const io: Io = {
    env: {},
    cwd: "/",
    out: async (text) => void chunks.push(text),
    err: () => assert.unreachable("nothing but the answer is printed"),
    stdin: new PassThrough(),
    outIsTerminal: false,
    errIsTerminal: false,
    columns: undefined,
    interrupted: new AbortController().signal,
  };
  return { io, text: () => chunks.join("") };
}

async function listed(format: Format): Promise<string> {
  const { io, text } = sink();
  await printList(io, { format, colour: false, columns: undefined }, rows, shown, ({ id }) => id);
  return text();
}

test("a list in each form", async () => {
  assert.is(await listed("table"), "ID  TITLE\na   first\nbb  second\n");
  assert.equal(JSON.parse(await listed("json")), rows);
  assert.equal(
    (await listed("jsonl"))
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line)),
    rows,
  );
  assert.is(await listed("name"), "a\nbb\n");
});

test("one thing in each form", async () => {
  const one = async (format: Format) => {
    const { io, text } = sink();
    await printOne(
      io,
      { format, colour: false, columns: undefined },
      rows[0]!,
      ({ title }) => `${title}!\n`,
      ({ id }) => id,
    );
    return text();
  };
  assert.is(await one("table"), "first!\n");
  assert.equal(JSON.parse(await one("json")), rows[0]);
  assert.is(await one("jsonl"), `${JSON.stringify(rows[0])}\n`);
  assert.is(await one("name"), "a\n");
});

test("nothing in an answer can act on the terminal", () => {
  const hostile = "a\u001b[2Jb\u0007\u001b]0;title\u0007c\r\nd\u009b31me\u202efdp\u2066x";
  const inTable = table([{ id: "x", title: hostile }], shown, { colour: false, columns: undefined });
  for (const text of [inTable, plain(hostile), oneLine(hostile), facts([["it", hostile]]), outline({ it: hostile })]) {
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not be there
    assert.not.match(text, /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/);
  }
  assert.is(oneLine("a\nb\tc"), "a b c");
});

test("a table fits the terminal, and wide characters are counted as such", () => {
  const wide = [{ id: "a", title: "長い題名".repeat(20) }];
  const text = table(wide, shown, { colour: false, columns: 40 });
  const row = text.split("\n")[1]!;
  const width = [...row].reduce((sum, character) => sum + (character > "\u1100" && character !== "…" ? 2 : 1), 0);
  assert.ok(width <= 40, `${width} columns`);
  assert.ok(row.endsWith("…"));
  const narrow = table(
    [
      { id: "長", title: "x" },
      { id: "ab", title: "y" },
    ],
    shown,
    { colour: false, columns: undefined },
  );
  assert.is(narrow, "ID  TITLE\n長  x\nab  y\n");
});

test("exit codes of answers", () => {
  const exitOf = (status: number, type: string) =>
    failureOfAnswer(status, { type: `/problems/${type}` }, undefined).exit;
  assert.equal(
    [
      exitOf(400, "invalid-input"),
      exitOf(401, "unauthenticated"),
      exitOf(403, "forbidden"),
      exitOf(404, "not-found"),
      exitOf(409, "conflict"),
      exitOf(412, "precondition-failed"),
      exitOf(422, "refused"),
      exitOf(428, "precondition-required"),
      exitOf(429, "rate-limited"),
      exitOf(503, "unavailable"),
    ],
    [2, 4, 4, 3, 5, 5, 6, 5, 1, 1],
  );
  for (const body of [undefined, null, 1, "x", [], { type: 7, title: {} }]) {
    const failure = failureOfAnswer(500, body, "req_1");
    assert.is(failure.exit, 1);
    assert.is(failure.requestId, "req_1");
  }
});

test("what is wrong with a field is said once", () => {
  const errors = [{ pointer: "/body/name", detail: "too long" }];
  const why = (detail: string) =>
    failureOfAnswer(400, { type: "/problems/invalid-input", detail, errors }, undefined).why;
  assert.is(why("/body/name too long"), "/body/name: too long");
  const permission = "applications:read";
  const refused = { type: "/problems/forbidden", detail: `It takes the permission ${permission}.`, permission };
  assert.is(failureOfAnswer(403, refused, undefined).why, refused.detail);
  assert.is(why("Two names at once."), "Two names at once; /body/name: too long");
});

test("an error for a program is one line of JSON", () => {
  const failure = failureOfAnswer(
    422,
    {
      type: "/problems/refused",
      title: "No",
      reason: "Because",
      detail: "Because",
      rule: "r",
      fix: "Do",
      requestId: "q",
    },
    undefined,
  );
  const line = failureAsJson(failure);
  assert.is(line.split("\n").length, 2);
  assert.equal(JSON.parse(line), {
    error: { code: "refused", message: "No: Because; rule: r", fix: "Do", requestId: "q" },
  });
});

test.run();
