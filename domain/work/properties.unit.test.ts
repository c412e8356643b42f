/** Whatever is asked, in whatever order: what must stay true of a work item. */
import assert from "node:assert/strict";
import { type Workflow, WorkItem } from "@millrace/contracts/work/entities.ts";
import { GROUPS, LIMITS, PRIORITIES } from "@millrace/contracts/work/values.ts";
import * as Schema from "effect/Schema";
import fc from "fast-check";
import { suite } from "../../tests/harness/suite.ts";
import { type Actor, isRefusal } from "../decider.ts";
import { ada, ben, ORGANISATION, timeOf } from "../testing.ts";
import { BUILT_IN_TYPES } from "./builtin.ts";
import { type ItemCommand, type ItemEvent, type ItemState, item } from "./item.ts";
import { isClosed } from "./item-state.ts";
import { checkWorkflow } from "./type-check.ts";

const test = suite("properties of work items");

const RUNS = 300;
const digits = (n: number) => String(n).padStart(26, "0");
const line = fc.integer({ min: 0, max: 9 }).map((n) => `lin_${digits(n)}`);
const attachment = fc.integer({ min: 0, max: 5 }).map((n) => `att_${digits(n)}`);
const comment = fc.integer({ min: 0, max: 5 }).map((n) => `cmt_${digits(n)}`);
const written = "Swept and mopped, all of it, twice over. ".repeat(4);
const text = fc.oneof(fc.string({ maxLength: 30 }), fc.string({ unit: "binary", maxLength: 10 }), fc.constant(written));
const word = fc.oneof(
  { weight: 20, arbitrary: fc.constantFrom("ada", "ben", "b-c") },
  fc.constantFrom("Not a word", ""),
);
const words = fc.array(word, { maxLength: 4 });
const optional = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined });
const link = fc.record(
  {
    kind: fc.constantFrom("application", "item"),
    id: fc.constantFrom(`app_${digits(1)}`, `app_${digits(2)}`, `itm_${digits(1)}`, "itm_01kajzq4v0e8r9t2m5x7c3d6fg"),
    relation: fc.constantFrom("changes", "relates-to"),
    commit: fc.constantFrom("8f1b2c3", "8f1b2c4", "none"),
  },
  { requiredKeys: ["kind", "id"] },
);
const seen = fc.oneof({ weight: 9, arbitrary: fc.constant(undefined) }, fc.integer({ min: 1, max: 12 }));

/** Commands that may or may not make sense. Undefined members are left out, as JSON leaves them out. */
const command = (workflow: Workflow): fc.Arbitrary<ItemCommand> => {
  const by = { workflow: fc.constant(workflow) };
  const to = fc.constantFrom(...workflow.states.map(({ name }) => name), "nowhere");
  const one = (
    weight: number,
    verb: string | ReadonlyArray<string>,
    fields: Record<string, fc.Arbitrary<unknown>>,
  ) => ({
    weight,
    arbitrary: fc.record({ do: fc.constantFrom(...[verb].flat()), seen, ...fields }),
  });
  const priority = optional(fc.constantFrom(...PRIORITIES, null));
  const dueOn = optional(fc.constantFrom("2027-01-31", "2027-02-30", null));
  const file = fc.constantFrom("front.jpg", "front ö.jpg", "a", "../x");
  const bytes = fc.constantFrom(1, LIMITS.attachmentBytes, LIMITS.attachmentBytes + 1);
  const sha256 = fc.constant("9f86d081".repeat(8));
  const mediaType = fc.constantFrom("image/jpeg", "text/plain", "a/b", "nothing");
  const gate = fc.constantFrom("notes_present", "checklist_complete", "magic");
  return fc
    .oneof(
      one(24, "transition", { to, ...by }),
      one(6, "change", { title: optional(text), description: optional(text), notes: optional(text), priority, dueOn }),
      one(8, "change", { notes: fc.constant(written) }),
      one(6, ["assign", "unassign"], { assignees: words }),
      one(6, ["label", "unlabel"], { labels: words }),
      one(4, ["link", "unlink"], { links: fc.array(link, { maxLength: 3 }) }),
      one(4, "addLine", { line, text, required: optional(fc.boolean()), index: optional(fc.integer()) }),
      one(6, "changeLine", { line, done: optional(fc.boolean()), text: optional(text) }),
      one(24, "changeLine", { line, done: fc.constant(true) }),
      one(3, "removeLine", { line }),
      one(3, "changeLine", { line, index: fc.integer({ min: -3, max: 300 }) }),
      one(2, "waive", { gate, reason: text, ...by }),
      one(9, ["comment", "comment", "editComment", "removeComment"], { comment, text }),
      one(8, ["attach", "attach", "detach"], { attachment, name: file, bytes, sha256, mediaType }),
      one(1, "open", { title: text, lineIds: fc.constant([]), ...by }),
      one(1, "delete", {}),
    )
    .map((made) => JSON.parse(JSON.stringify(made)) as ItemCommand);
};

const workflowAndCommands = fc.constantFrom(...BUILT_IN_TYPES.values()).chain((workflow) => {
  const commands = fc.array(fc.tuple(command(workflow), fc.constantFrom(ada, ben)), { maxLength: 60, size: "max" });
  return fc.tuple(fc.constant(workflow), commands);
});

const decodeEntity = Schema.decodeUnknownSync(WorkItem, { onExcessProperty: "error" });
const encodings = Object.fromEntries(
  Object.entries(item.events).map(([type, { data }]) => [
    type,
    Schema.decodeUnknownSync(data, { onExcessProperty: "error" }),
  ]),
);

function holds(state: ItemState, workflow: Workflow): void {
  const current = workflow.states.find(({ name }) => name === state.state);
  assert.ok(current, `state "${state.state}" is none of the type's`);
  assert.equal(state.group, current.group);
  assert.equal(state.stateTitle, current.title);
  assert.equal(new Set(state.assignees).size, state.assignees.length);
  assert.equal(new Set(state.labels).size, state.labels.length);
  assert.equal(new Set(state.links.map(({ kind, id }) => kind + id)).size, state.links.length);
  assert.equal(new Set(state.checklist.map(({ id }) => id)).size, state.checklist.length);
  assert.equal(new Set(state.comments.map(({ id }) => id)).size, state.comments.length);
  assert.equal(new Set(state.attachments.map(({ id }) => id)).size, state.attachments.length);
  assert.ok(state.attachments.length <= LIMITS.attachments);
  assert.equal(new Set(state.waivers.map(({ gate }) => gate)).size, state.waivers.length);
  assert.equal(
    state.threadBytes,
    state.comments.reduce((sum, one) => sum + Buffer.byteLength(one.text), 0),
  );
  assert.ok(state.checklist.length <= LIMITS.lines && state.comments.length <= LIMITS.comments);
  assert.equal(state.completedAt !== null, state.group === "completed");
  for (const { text: required } of workflow.checklist.filter((template) => template.required)) {
    assert.ok(
      state.checklist.some((one) => one.text === required && one.required),
      "a line that the type requires is gone",
    );
  }
  decodeEntity(JSON.parse(JSON.stringify(item.represent(state))));
}

/** Decides and folds as the log does: events go through JSON and their schema. */
function play(
  workflow: Workflow,
  commands: ReadonlyArray<readonly [ItemCommand, Actor]>,
  look: (before: ItemState, events: ReadonlyArray<ItemEvent>, after: ItemState) => void,
): ItemState {
  const lineIds = workflow.checklist.map((_, i) => `lin_${digits(i)}`);
  const first: readonly [ItemCommand, Actor] = [{ do: "open", title: "Sweep", workflow, lineIds }, ada];
  return [first, ...commands].reduce((before, [asked, actor], n) => {
    const decision = item.decider.decide(asked, before, { organisation: ORGANISATION, actor, now: timeOf(n) });
    if (isRefusal(decision)) {
      if (decision.refused === "rule") assert.ok(decision.reason !== "" && decision.fix !== "");
      return before;
    }
    const events = decision.events.map(
      ({ type, data }) => ({ type, data: encodings[type]!(JSON.parse(JSON.stringify(data))) }) as ItemEvent,
    );
    const after = events.reduce(
      (state, event) => item.decider.evolve(state, event, { organisation: ORGANISATION, actor, time: timeOf(n) }),
      before,
    );
    look(before, events, after);
    return after;
  }, item.decider.initial("itm_01kajzq4v0e8r9t2m5x7c3d6fg"));
}

test("any accepted commands keep the item whole, its generation growing, its gates kept", () => {
  fc.assert(
    fc.property(workflowAndCommands, ([workflow, commands]) => {
      play(workflow, commands, (before, events, after) => {
        holds(after, workflow);
        assert.ok(after.generation >= before.generation);
        const spec = (state: ItemState) => JSON.stringify((item.represent(state) as { spec: unknown }).spec);
        if (spec(before) !== spec(after)) assert.ok(after.generation > before.generation, "spec changed unseen");
        assert.deepEqual(after.waivers.slice(0, before.waivers.length), before.waivers, "a waiver went away");
        for (const event of events) {
          if (event.type !== "ItemMoved" || event.data.group !== "completed" || before.group === "completed") continue;
          const waived = (gate: string) => before.waivers.some((waiver) => waiver.gate === gate);
          assert.ok(waived("checklist_complete") || before.checklist.every((one) => one.done || !one.required));
          assert.ok(waived("notes_present") || before.notes.trim() !== workflow.notesTemplate.trim());
        }
      });
    }),
    { numRuns: RUNS },
  );
});

test("the commands of the property do reach completion, reopening and waiving", () => {
  const met = new Set<string>();
  for (const [workflow, commands] of fc.sample(workflowAndCommands, { numRuns: 500, seed: 7 })) {
    play(workflow, commands, (before, events, after) => {
      for (const { type } of events) met.add(type);
      if (isClosed(after.group) && !isClosed(before.group)) met.add(after.group);
      if (isClosed(before.group) && !isClosed(after.group)) met.add("reopened");
    });
  }
  const wanted = [...Object.keys(item.events), "completed", "cancelled", "reopened"];
  assert.deepEqual(
    wanted.filter((name) => !met.has(name)),
    [],
  );
});

test("the fold takes any event of the schema on any state, and answers a state", () => {
  const examples = Object.entries(item.events).map(
    ([type, { examples, version }]) => ({ type, data: examples[version] }) as ItemEvent,
  );
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...examples), { maxLength: 60 }), (events) => {
      const state = events.reduce(
        (before, event, n) =>
          item.decider.evolve(before, event, { organisation: ORGANISATION, actor: ada, time: timeOf(n) }),
        item.decider.initial("itm_01kajzq4v0e8r9t2m5x7c3d6fg"),
      );
      assert.equal(typeof item.exists(state), "boolean");
      assert.ok(Number.isInteger(item.generation(state)));
      item.represent(state);
    }),
    { numRuns: RUNS },
  );
});

test("whatever type passes the check can be completed from its initial state", () => {
  const name = fc.constantFrom("a", "b", "c");
  const any = fc.record({
    states: fc.array(fc.record({ name, title: fc.constant("T"), group: fc.constantFrom(...GROUPS) }), {
      minLength: 2,
      maxLength: 3,
    }),
    initial: name,
    transitions: fc.array(fc.record({ from: name, to: name }), { maxLength: 6 }),
  });
  let passed = 0;
  fc.assert(
    fc.property(any, (parts) => {
      const workflow: Workflow = {
        name: "x",
        title: "X",
        description: "",
        checklist: [],
        notesTemplate: "",
        notesRequired: { minLength: 0 },
        gates: {},
        ...parts,
      };
      if (checkWorkflow(workflow) !== undefined) return;
      passed++;
      const reached = new Set([workflow.initial]);
      for (let size = 0; size !== reached.size; ) {
        size = reached.size;
        for (const { from, to } of workflow.transitions) if (reached.has(from)) reached.add(to);
      }
      assert.ok(workflow.states.some((state) => state.group === "completed" && reached.has(state.name)));
    }),
    { numRuns: 20_000, seed: 11 },
  );
  assert.ok(passed > 20, `only ${passed} of the types made passed the check`);
});

test.run();
