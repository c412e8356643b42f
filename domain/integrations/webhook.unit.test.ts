/** The rules of webhooks, and through them of every destination. */
import { LIMITS } from "@millrace/contracts/integrations/values.ts";
import * as assert from "uvu/assert";
import { suite } from "../../tests/harness/suite.ts";
import { given, type Told } from "../testing.ts";
import { SEALED } from "./destination-events.ts";
import { webhook } from "./webhook.ts";

const test = suite("webhook rules");

const spec = { name: "chat", url: "https://example.com/hook", description: "", events: { context: ["work"] } };
const created: Told = ["WebhookCreated", { ...spec, from: { position: "MTs" }, sealed: SEALED }];
const entity = { context: "work", kind: "item", id: "itm_01kajzq4v0e8r9t2m5x7c3d6fg" };
const byOutbox = { reason: "500", resumes: 0 };

test("it is created once, with its name claimed, where requests may be sent", () => {
  const make = { do: "create", spec, sealed: SEALED, from: { position: "MTs" } } as const;
  given(webhook, []).when(make).happens(created);
  given(webhook, [])
    .when(make)
    .claims({ what: "webhook-name", value: "org_01kajzq4v0e8r9t2m5x7c3d6fg/chat", hold: true });
  given(webhook, [created]).when(make).isRefused({ refused: "conflict" });
  for (const url of [
    ..."ftp://example.com/ file:///etc/passwd gopher://example.com/ http://a:b@example.com/ https://example.com/#x".split(
      " ",
    ),
    ..."http://example.com:22/ http://example.com:6667/ http://example.com:99999/ https:// javascript:alert(1)".split(
      " ",
    ),
    `https://example.com/${"x".repeat(2_000)}`,
  ]) {
    given(webhook, [])
      .when({ ...make, spec: { ...spec, url } })
      .isRefused({ refused: "invalid", pointers: ["/body/url"] });
  }
});

test("a change says what changed; a rotation keeps the old secret", () => {
  given(webhook, [created])
    .when({ do: "change", spec: { url: spec.url } })
    .happens();
  given(webhook, [created])
    .when({ do: "change", spec: { events: {} } })
    .happens(["WebhookChanged", { events: {} }]);
  given(webhook, [created]).when({ do: "change", spec: {}, seen: 7 }).isRefused({ refused: "precondition" });
  given(webhook, [created])
    .when({ do: "rotate", sealed: SEALED, until: "2026-11-22T08:00:00.000Z" })
    .leads(({ secrets }) => assert.equal(secrets?.previous?.until, "2026-11-22T08:00:00.000Z"));
});

test("paused, parked and disabled are left by resuming alone; the outbox speaks only of what it knew", () => {
  const story = (...more: Told[]) => given(webhook, [created, ...more]);
  story().when({ do: "pause" }).happens(["WebhookPaused", {}]);
  story(["WebhookPaused", {}]).when({ do: "pause" }).happens();
  story()
    .when({ do: "park", ...byOutbox })
    .happens(["WebhookParked", { reason: "500" }]);
  story()
    .when({ do: "disable", ...byOutbox })
    .happens(["WebhookDisabled", { reason: "500" }]);
  story(["WebhookPaused", {}])
    .when({ do: "park", ...byOutbox })
    .happens();
  story(["WebhookParked", { reason: "500" }])
    .when({ do: "pause" })
    .isRefused({ rule: "stopped-already" });
  const resumed: Told = ["WebhookResumed", { from: "parked", skip: true }];
  story(["WebhookParked", { reason: "500" }])
    .when({ do: "resume", skip: true })
    .happens(resumed);
  story(["WebhookParked", { reason: "500" }], resumed)
    .when({ do: "park", ...byOutbox })
    .happens();
  story().when({ do: "resume", skip: false }).happens();
});

test("entities are parked one by one, and too many of them park it all", () => {
  const park = (id: string) => ({ do: "parkEntity", entity: { ...entity, id }, event: "1.0", ...byOutbox }) as const;
  const told = (id: string): Told => [
    "WebhookEntityParked",
    { entity: { ...entity, id }, event: "1.0", reason: "500" },
  ];
  given(webhook, [created]).when(park("itm_1")).happens(told("itm_1"));
  given(webhook, [created, told("itm_1")])
    .when(park("itm_1"))
    .happens();
  const many = Array.from({ length: LIMITS.parkedEntities }, (_, i) => told(`itm_${i}`));
  const decided = given(webhook, [created, ...many]).when(park("itm_more")).decision;
  assert.ok("events" in decided);
  assert.is(decided.events[0]?.type, "WebhookParked");
});

test("a replay begins anew, tests are counted, and what is deleted is gone", () => {
  given(webhook, [created])
    .when({ do: "replay", time: "2026-11-21T08:00:00.000Z" })
    .leads(({ start }) => assert.equal(start, { replays: 1, time: "2026-11-21T08:00:00.000Z" }));
  given(webhook, [created, ["WebhookTestRequested", { test: 1 }]])
    .when({ do: "test" })
    .happens(["WebhookTestRequested", { test: 2 }]);
  given(webhook, [created])
    .when({ do: "delete" })
    .happens(["WebhookDeleted", { name: "chat" }]);
  for (const command of [{ do: "test" }, { do: "pause" }, { do: "park", ...byOutbox }] as const) {
    given(webhook, [created, ["WebhookDeleted", { name: "chat" }]])
      .when(command)
      .isRefused({ refused: "not-found" });
  }
});

test("what is told outside holds no sealed value, and every event has its sentence", () => {
  for (const [type, { examples, toPublic, sentence }] of Object.entries(webhook.events)) {
    const data = examples[1] as object;
    assert.ok(sentence(data).length > 5, type);
    const shown = toPublic === undefined || toPublic === null ? data : toPublic(data);
    assert.not.ok(JSON.stringify(shown).includes("sealed"), type);
    assert.ok(type in webhook.publicEvents, type);
  }
});

test.run();
