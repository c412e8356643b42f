/** What of aggregates stays in memory. */
import * as assert from "uvu/assert";
import { suite } from "../tests/harness/suite.ts";
import { Aggregates } from "./aggregate.ts";
import { account } from "./fixtures/ledger.ts";
import { RememberedCommands } from "./remembered.ts";

const test = suite("aggregates in memory");

const loaded = (id: string, bytes: number, version = 1) => {
  const state = { ...account.decider.initial(id), owner: "x".repeat(bytes) };
  return { id, state, organisation: "org_a", seq: version, version, commands: new RememberedCommands() } as never;
};
const kept = (aggregates: Aggregates, ...ids: string[]) =>
  ids.filter((id) => aggregates.cached(account, id) !== undefined);

test("the most recently used, by number", () => {
  const aggregates = new Aggregates(undefined as never, { most: 3 });
  for (const id of ["a", "b", "c", "a", "d"]) aggregates.keep(account, loaded(id, 10));
  assert.equal(kept(aggregates, "a", "b", "c", "d"), ["a", "c", "d"]);
});

test("and by bytes, as they grow; at least one", () => {
  const aggregates = new Aggregates(undefined as never, { mostBytes: 10_000 });
  for (const id of ["a", "b", "c", "d"]) aggregates.keep(account, loaded(id, 2_000));
  assert.equal(kept(aggregates, "a", "b", "c", "d"), ["a", "b", "c", "d"]);
  aggregates.keep(account, loaded("c", 7_000, 2));
  assert.equal(kept(aggregates, "a", "b", "c", "d"), ["c", "d"]);
  aggregates.forget(account, "c");
  for (const id of ["e", "f", "g"]) aggregates.keep(account, loaded(id, 2_000));
  assert.equal(kept(aggregates, "d", "e", "f", "g"), ["d", "e", "f", "g"], "what was forgotten weighs nothing");
  aggregates.keep(account, loaded("h", 50_000));
  assert.equal(kept(aggregates, "d", "e", "f", "g", "h"), ["h"]);
});

test.run();
