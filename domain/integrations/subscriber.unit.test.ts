/** The rules of subscribers. */
import assert from "node:assert/strict";
import { suite } from "../../tests/harness/suite.ts";
import { given, ORGANISATION, type Told, timeOf } from "../testing.ts";
import { subscriber } from "./subscriber.ts";

const test = suite("subscriber rules");

const HASH = "0".repeat(64);
const OTHER = "1".repeat(64);
const MAKER = "tok_01kajzq4v0e8r9t2m5x7c3d6fg";
const spec = { name: "warehouse", description: "", events: { context: ["work"] }, expiresAt: null };
const secret = { hash: HASH, last8: "aaaaaaaa" };
const created: Told = ["SubscriberCreated", { ...spec, ...secret, maker: MAKER }];
const until = "2026-12-01T00:00:00.000Z";

test("is made with a name of its own, and gives it back", () => {
  const made = given(subscriber, []).when({ do: "create", spec, ...secret, maker: MAKER });
  made.happens(created);
  made.claims({ what: "subscriber-name", value: `${ORGANISATION}/warehouse`, hold: true });
  const revoked = given(subscriber, [created]).when({ do: "revoke", seen: 1 });
  revoked.happens(["SubscriberRevoked", { name: "warehouse" }]);
  revoked.claims({ what: "subscriber-name", value: `${ORGANISATION}/warehouse`, hold: false });
  given(subscriber, [created]).when({ do: "revoke", seen: 2 }).isRefused({ refused: "precondition" });
  given(subscriber, [created, ["SubscriberRevoked", { name: "warehouse" }]])
    .when({ do: "rotate", until, maker: MAKER, ...secret })
    .isRefused({ refused: "not-found" });
});

test("whoever changes what it reads, or its password, is whose rights it reads by", () => {
  const events = { context: ["applications"] };
  const ben = "tok_01kajzq4v0e8r9t2m5x7c3d6fh";
  given(subscriber, [created])
    .when({ do: "change", spec: { events }, maker: ben })
    .happens(["SubscriberChanged", { events, maker: ben }]);
  given(subscriber, [created])
    .when({ do: "change", spec: { events: spec.events }, maker: MAKER })
    .happens();
  given(subscriber, [created])
    .when({ do: "change", spec: { description: "For Ada" } })
    .happens(["SubscriberChanged", { description: "For Ada" }]);
  const rotated = { hash: OTHER, last8: "bbbbbbbb", oldUntil: until, maker: ben };
  const { state } = given(subscriber, [created, ["SubscriberSecretRotated", rotated]]);
  assert.deepEqual([state.maker, state.hash, state.previous], [ben, OTHER, { hash: HASH, until }]);
  const atOnce = given(subscriber, [created, ["SubscriberSecretRotated", { ...rotated, oldUntil: timeOf(1) }]]);
  assert.equal(atOnce.state.previous, null, "an overlap of nothing leaves nothing");
});

test("an end lies ahead; lists that come to too many subjects are refused", () => {
  const create = (more: object) =>
    given(subscriber, []).when({ do: "create", spec: { ...spec, ...more }, ...secret, maker: MAKER });
  create({ expiresAt: timeOf(0) }).isRefused({ refused: "invalid", pointers: ["/body/expiresAt"] });
  create({ expiresAt: timeOf(1) }).happens([
    "SubscriberCreated",
    { ...spec, expiresAt: timeOf(1), ...secret, maker: MAKER },
  ]);
  const many = (count: number) => Array.from({ length: count }, (_, i) => `A${i}`);
  create({ events: { type: many(16), kind: many(16) } });
  create({ events: { type: many(17), kind: many(16) } }).isRefused({ refused: "invalid", pointers: ["/body/events"] });
});

test("neither hash nor maker is public; the API shows no hash", () => {
  for (const type of ["SubscriberCreated", "SubscriberSecretRotated"]) {
    const { toPublic, examples } = subscriber.events[type]!;
    const shown = toPublic!(examples[1]) as object;
    assert.ok(!("hash" in shown) && !("maker" in shown), type);
  }
  const { state } = given(subscriber, [created]);
  assert.ok(!JSON.stringify(subscriber.represent(state)).includes(HASH));
});

test.run();
