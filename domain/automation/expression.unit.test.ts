/** Conditions and templates: what holds, what is refused, and that nothing makes them long. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { suite } from "../../tests/harness/suite.ts";
import { readyRule, seesOf, timeIn } from "./evaluate.ts";
import { EXPRESSION, parseCondition } from "./expression.ts";
import { render, templateFaults } from "./template.ts";
import { NUMBER, objectOf, STRING, type Type } from "./types.ts";

const test = suite("conditions and templates");

const labels: Type = { is: "list", of: STRING };
const scope = objectOf({ n: NUMBER, s: STRING, labels, spec: objectOf({ title: STRING, due: STRING }) });
const value = { n: 3, s: "abc", labels: ["a", "b"], spec: { title: "T" } };

const holds = (text: string): boolean => {
  const read = parseCondition(text, scope);
  if ("fault" in read) assert.fail(`${text}: ${read.fault}`);
  return read.holds(value);
};

test("what holds, and what does not", () => {
  const yes = [
    "n == 3",
    "n != 4 and n < 4",
    "n >= 3 or n < 0",
    "not (n > 3)",
    "not n > 3",
    "n + 1 == 4",
    "2 * n - 1 == 5",
    "n / 2 == 1.5",
    "-n < 0",
    "s == 'abc'",
    's < "abd"',
    "'a' in labels",
    "'z' not in labels",
    "s in ['abc', 'x']",
    "n in [1, 2, 3]",
    "size(labels) == 2",
    "size(s) == 3",
    "s matches '^a.c$'",
    "s not matches '^b'",
    's matches "(?i)^ABC"',
    "exists(spec.title)",
    "not exists(spec.due)",
    "spec.due == null",
    "spec.title != null",
    "labels[0] == 'a'",
    "labels[9] == null",
    "true",
    "false or true and true",
    "spec['title'] == 'T'",
  ];
  for (const text of yes) assert.equal(holds(text), true, text);
  const no = [
    "n == 4",
    "spec.due < 'x'",
    "spec.due > 'x'",
    "spec.due matches '.*'",
    "n / 0 == 1",
    "labels == ['a']",
    "s == null",
    "not true",
    "false",
  ];
  for (const text of no) assert.equal(holds(text), false, text);
});

test("what is no condition is refused, with its place", () => {
  const table: ReadonlyArray<readonly [string, RegExp]> = [
    ["", /ends too early/],
    ["n", /number, not something that holds/],
    ["n ==", /too early/],
    ["n == 's'", /never/],
    ["s > 3", /not >/],
    ["nope == 1", /nope leads nowhere.*character 1/],
    ["spec.nope == 1", /in spec is title, due/],
    ["s.length == 3", /leads nowhere/],
    ["s.__proto__ == null", /leads nowhere/],
    ["constructor == null", /leads nowhere/],
    ["n and true", /boolean is needed/],
    ["'1' in s", /a list is needed/],
    ["1 in labels", /never in a list/],
    ["s matches labels", /pattern in quotes/],
    ["s matches '('", /no pattern/],
    ["s matches '(a{999}){999}'", /no pattern/],
    ["fetch('x')", /no function/],
    ["n == 3; true", /not understood/],
    ["n == 3 n", /not expected/],
    ["`x`", /not understood/],
    ["n = 3", /not understood/],
    [`s matches '${"a".repeat(EXPRESSION.pattern + 1)}'`, /at most/],
    [`${"(".repeat(EXPRESSION.depth + 1)}true`, /nested deeper/],
    [`${"not ".repeat(EXPRESSION.depth + 1)}true`, /nested deeper/],
    [`${"true or ".repeat(EXPRESSION.nodes)}true`, /parts/],
    ["x".repeat(EXPRESSION.length + 1), /longer than/],
    [`n in [${"1,".repeat(EXPRESSION.list)}1]`, /at most/],
  ];
  for (const [text, expected] of table) {
    const read = parseCondition(text, scope);
    assert.ok("fault" in read, text);
    assert.match(read.fault, expected, text);
  }
});

test("whatever is written is a condition or a fault, and no condition throws whatever it is asked of", () => {
  const parts = ["n", "s", "labels[0]", "spec.title", "spec.due", "'a'", "1", "null", "size(s)", "n + 1", "-n / 2"];
  const three = fc.tuple(fc.constantFrom(...parts), fc.constantFrom("==", "!=", "<", ">="), fc.constantFrom(...parts));
  const phrase = fc.oneof(
    three.map((words) => words.join(" ")),
    fc.constantFrom("s in labels", "s matches 'a+'", "exists(spec.due)", "n in [1, 2]", "not", "(", ")", "true"),
  );
  const joined = fc
    .tuple(fc.array(phrase, { minLength: 1, maxLength: 4 }), fc.constantFrom(" and ", " or ", " "))
    .map(([phrases, join]) => phrases.join(join));
  let conditions = 0;
  fc.assert(
    fc.property(joined, fc.anything(), (text, asked) => {
      const read = parseCondition(text, scope);
      if ("fault" in read) return;
      conditions++;
      assert.equal(typeof read.holds(value), "boolean");
      assert.equal(typeof read.holds({ n: asked, s: asked, labels: asked, spec: asked }), "boolean");
    }),
    { numRuns: 1_000 },
  );
  fc.assert(
    fc.property(fc.string({ maxLength: 200 }), (text) => void parseCondition(text, scope)),
    { numRuns: 500 },
  );
  assert.ok(conditions > 50, `${conditions} of the random ones were conditions`);
});

const opening = (title: string, more: object = {}) => [
  { action: "work.openItem", body: { type: "task", title, ...more } },
];

test("templates: paths alone, in their place; a text that is only one takes the value as it is", () => {
  const made = render(opening("{{ s }} of {{spec.title}} ({{n}})", { labels: "{{labels}}" }), value);
  assert.deepEqual(made, { commands: opening("abc of T (3)", { labels: ["a", "b"] }) });
  assert.deepEqual(render(opening("{{spec.due}}"), value), { fault: "{{spec.due}} is not there" });
  assert.match(
    (render(opening("{{s}}".repeat(20_000)), { s: "long".repeat(10) }) as { fault: string }).fault,
    /too large/,
  );
  const faults = (title: string) =>
    templateFaults(opening(title), scope, "/commands").map(({ pointer, detail }) => `${pointer} ${detail}`);
  assert.deepEqual(faults("{{s}}"), []);
  for (const code of [
    "{{1+1}}",
    "{{s | upper}}",
    "{{#if s}}",
    "{{s()}}",
    "{{}}",
    "{{s[x]}}",
    "{{{s}}}",
    "{{s",
    "s}}",
    "{{nope}}",
  ]) {
    assert.equal(faults(code).length, 1, code);
    assert.match(faults(code)[0]!, /^\/commands\/0\/body\/title /, code);
  }
  assert.deepEqual(faults("x".repeat(300)).length, 1, "what holds no template is checked as it is");
});

test("what rules see: the data of all events that fit, the entity, the time", () => {
  const sees = seesOf({ kind: "event", context: "work", types: ["ItemMoved", "ItemOpened"] } as never);
  assert.ok("type" in sees);
  for (const text of [
    "event.data.group == 'completed'",
    "entity.spec.labels == null or time.hour < 8",
    "event.actor.kind == 'token'",
    "event.data.reopened",
  ]) {
    assert.ok(!("fault" in parseCondition(text, sees.type)), text);
  }
  assert.ok("fault" in parseCondition("event.data.deployment == 'x'", sees.type));
  assert.ok("fault" in seesOf({ kind: "event", context: "work", types: ["Nothing*"] } as never));
  assert.ok("fault" in seesOf({ kind: "event", context: "work", types: ["*"], kinds: ["house"] } as never));
  assert.deepEqual(timeIn("Europe/Berlin", Date.parse("2026-11-21T23:30:00Z")), {
    hour: 0,
    minute: 30,
    weekday: "sun",
    date: "2026-11-22",
    at: "2026-11-21T23:30:00.000Z",
  });
  const rule = readyRule({
    when: { kind: "event", context: "work", types: ["Item*"], kinds: ["item"], ids: ["itm_a"], labels: ["x"] },
    condition: "event.data.title == 'T'",
    timeZone: "UTC",
    commands: opening("{{event.data.title}}"),
  });
  assert.deepEqual(
    [
      rule.wants("item", "ItemOpened", "itm_a"),
      rule.wants("item", "ItemOpened", "itm_b"),
      rule.wants("type", "TypeDefined", "itm_a"),
    ],
    [true, false, false],
  );
  const happened = {
    context: "work",
    kind: "item",
    entity: "itm_a",
    id: "1.0",
    type: "ItemOpened",
    atMs: 0,
    actor: { kind: "token", id: "t", name: "t" },
    data: { title: "T" },
  } as const;
  assert.deepEqual(rule.ask(happened, { spec: { labels: ["x", "y"] } }), { commands: opening("T") });
  assert.equal(rule.ask(happened, { spec: { labels: ["y"] } }), undefined);
  assert.equal(rule.ask({ ...happened, data: { title: "U" } }, { spec: { labels: ["x"] } }), undefined);
});

test.run();
