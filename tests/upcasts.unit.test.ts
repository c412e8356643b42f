/** Every event of every context has an example of each version that reads as today's schema says. */
import assert from "node:assert/strict";
import { CONTEXTS } from "@millrace/domain/contexts.ts";
import { checkUpcasts } from "@millrace/eventlog/upcast.ts";
import { counter } from "./harness/counter.ts";
import { suite } from "./harness/suite.ts";

const test = suite("upcasts");

for (const context of Object.values(CONTEXTS)) {
  test(`${context.name}: every version reads as today's`, () => {
    assert.deepEqual(checkUpcasts([context]), []);
  });
}

test("the check does find a missing example, a missing upcast and data of another shape", () => {
  const added = counter.events.CounterAdded!;
  const wrong = (declared: object) =>
    checkUpcasts([
      { name: "toy", kinds: { counter: { ...counter, events: { CounterAdded: { ...added, ...declared } } } } },
    ]);
  assert.deepEqual(wrong({}), []);
  assert.match(wrong({ examples: { 2: { by: 3 } } })[0]!, /no example of version 1/);
  assert.match(wrong({ upcasts: {} })[0]!, /no upcast from version 1/);
  assert.match(wrong({ examples: { 1: { amount: 3 }, 2: { by: "three" } } })[0]!, /version 2/);
  assert.match(wrong({ examples: { 1: { amount: 3 }, 2: { by: 3, more: 1 } } })[0]!, /version 2/);
});

test.run();
