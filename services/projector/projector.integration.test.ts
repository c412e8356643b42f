/** The projector as a service, on the product's own contexts: what commands did can be read and is on the feed. */

import { organisation } from "@millrace/domain/identity/organisation.ts";
import { connectNats } from "@millrace/eventlog/connection.ts";
import { DeadLetters } from "@millrace/eventlog/deadletters.ts";
import { EventLog } from "@millrace/eventlog/eventlog.ts";
import { type CommandContext, execute } from "@millrace/eventlog/execute.ts";
import { makeLogger } from "@millrace/eventlog/logging.ts";
import { Postgres } from "@millrace/eventlog/postgres.ts";
import { waitForProjected } from "@millrace/eventlog/projection-checkpoint.ts";
import { startService } from "@millrace/eventlog/service.ts";
import * as assert from "uvu/assert";
import { testNats, testPostgres } from "../../tests/harness/servers.ts";
import { suite } from "../../tests/harness/suite.ts";
import { projectorService } from "./start.ts";

const test = suite("projector");
const silent = makeLogger({ service: "projector", level: "silent" });

test("folds, relays, is ready, counts, and ends in order", async ({ defer }) => {
  const { url, user, pass: password } = await testNats();
  const postgresUrl = await testPostgres();
  const projector = await startService(projectorService, {
    env: {
      MILLRACE_NATS_URL: url,
      MILLRACE_NATS_USER: user,
      MILLRACE_NATS_PASSWORD: password,
      MILLRACE_POSTGRES_URL: postgresUrl,
      MILLRACE_HEALTH_PORT: "0",
    },
    log: silent,
  });
  defer(() => projector.stop());
  const log = await EventLog.open({ url, user, password, name: "test", replicas: 1 }, ["identity"]);
  defer(() => log.close());
  const postgres = new Postgres({ url: postgresUrl, name: "test" });
  defer(() => postgres.close());

  const id = "org_01kajzq4v0e8r9t2m5x7c3d6fg";
  const context: CommandContext = {
    organisation: id,
    actor: { kind: "system", id: "test", name: "test" },
    commandId: "cmd_1",
    digest: "",
    correlation: "cor_1",
    causation: "cmd_1",
    now: new Date().toISOString(),
  };
  const command = { type: "CreateOrganisation", name: "home", title: "At home" };
  const outcome = await execute(log, { kind: organisation as never, id, command }, context);
  assert.ok("ok" in outcome, JSON.stringify(outcome));
  const { seq } = outcome.ok;
  let waited: string | undefined;
  for (const deadline = Date.now() + 40_000; waited !== "there" && Date.now() < deadline; ) {
    waited = await waitForProjected(postgres, "identity", ["organisations", "history"], seq, 2_000).catch(
      (e) => e.because,
    );
  }
  assert.is(waited, "there");
  const [row] = await postgres.query("SELECT id, organisation, name, title FROM v.organisations");
  assert.equal(row, { id, organisation: id, name: "home", title: "At home" });
  const [said] = await postgres.query("SELECT context, kind, id, command FROM v.history");
  assert.equal(said, { context: "identity", kind: "organisation", id, command: "cmd_1" });
  const found = await postgres.query("SELECT id FROM v.search WHERE document @@ millrace.search_query('at ho')");
  assert.equal(found, [{ id }]);

  const get = async (path: string) => {
    const response = await fetch(`http://127.0.0.1:${projector.healthPort}${path}`);
    return { status: response.status, text: await response.text() };
  };
  let ready = await get("/readyz?verbose");
  for (
    const deadline = Date.now() + 20_000;
    ready.status !== 200 && Date.now() < deadline;
    ready = await get("/readyz?verbose")
  ) {
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  assert.is(ready.status, 200, ready.text);
  for (const name of [
    "nats",
    "projections",
    "projection organisations identity",
    "projection history work",
    "relay identity",
  ]) {
    assert.match(ready.text, `[+]${name} ok`);
  }
  const measured = [
    'millrace_projection_lag_events{projection="organisations",context="identity"} 0',
    'millrace_projection_stopped{projection="history",context="work"} 0',
  ];
  let shown = "";
  for (const deadline = Date.now() + 20_000; Date.now() < deadline; ) {
    shown = (await get("/metrics")).text;
    if (measured.every((line) => shown.includes(line))) break;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  for (const line of measured) assert.ok(shown.includes(line), line);

  const nats = await connectNats({ url, user, password, name: "test-feed" });
  defer(() => nats.close());
  for (const deadline = Date.now() + 20_000; ; ) {
    const { state } = await nats.jsm.streams.info("FEED_IDENTITY");
    if (state.messages > 0 || Date.now() > deadline) {
      assert.ok(state.messages > 0, "the event is on the feed");
      break;
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assert.equal(await new DeadLetters(nats).list(), []);
  await projector.stop();
  const left = await postgres.query("SELECT name FROM millrace.projection WHERE owner IS NOT NULL");
  assert.equal(left, [], "all leases are given up");
});

test.run();
