/**
 * Four push at once, again and again, one prunes, one installs with the real `flatpak`, and publishers are killed whenever it pleases:
 * nothing is missing, ever, and at the end everything that was published can be installed.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { EventLog } from "@millrace/eventlog/eventlog.ts";
import { pause } from "@millrace/eventlog/pause.ts";
import { closure } from "@millrace/publisher/adapters/ostree/closure.ts";
import { Repository } from "@millrace/publisher/adapters/ostree/repository.ts";
import { published } from "@millrace/publisher/adapters/ostree/summary.ts";
import { assertOnce, Publishers } from "../faults/deaths-of-builds.ts";
import { eventually } from "../harness/eventually.ts";
import { type Client, flatpakWorld, newClient } from "../harness/flatpak-world.ts";
import { callerOf, testGateway } from "../harness/gateway.ts";
import { testPublishing } from "../harness/publishing.ts";
import { publishDeveloped, untilBuild } from "../harness/pushes.ts";
import { testFolder, testNats } from "../harness/servers.ts";
import { serveRepositories } from "../harness/serving.ts";
import { suite } from "../harness/suite.ts";

const test = suite("publishing under load and deaths", { timeoutMs: 3_600_000 });
const ROUNDS = 5;
/** A build waits for its turn behind those of others, and for publishers that are killed. */
const PATIENCE_MS = 900_000;
const SHARED = "org.test.Shared";
const refOf = (app: string): string => `app/${app}/x86_64/stable`;

test("nothing is missing while four push, one prunes, one installs, and publishers die", async (context) => {
  const publishing = await testPublishing(context);
  const nats = await testNats();
  const gateway = await testGateway({ natsUrl: nats.url, natsUser: nats.user, natsPassword: nats.pass });
  const caller = callerOf(gateway);
  const { expect, call } = caller;
  const data = testFolder("publisher");
  const address = await serveRepositories(context, data, gateway.url);
  const connection = { url: nats.url, user: nats.user, password: nats.pass, name: "soak", replicas: 1 } as const;
  const log = await EventLog.open(connection, ["publishing"]);
  context.defer(() => log.close());
  const env = { MILLRACE_REPOSITORIES_URL: address, MILLRACE_PRUNE_YOUNG_SECONDS: "0", MILLRACE_DELTA_DEPTH: "2" };
  const publishers = new Publishers({ gateway, caller, log, data, publishing, env }, []);
  publishers.start();
  const retention = { depth: 0, snapshots: 1, everyHours: 24, graceHours: 1 };
  const { id } = (await expect(201, "POST", "/repositories", { body: { name: "stable", retention } })).body;
  const shown = async () => (await expect(200, "GET", "/repositories/stable")).body.status;
  const settled = () =>
    eventually(async () => ((await shown()).settled === true ? true : undefined), publishers.said(), 120_000);
  await settled();
  const main = await Repository.open(join(data, "publisher/local/repositories", id, "repo"));
  const world = flatpakWorld(publishing);
  await world.runtime(main);
  await expect(200, "PATCH", "/repositories/stable", { body: { comment: "All" }, headers: { "if-match": "*" } });
  await settled();

  const over = new AbortController();
  /** What it says when it is run, by application: the last that was published, of the shared one any of the last. */
  const says = new Map<string, string>();
  const builds: { readonly id: string; readonly number: number }[] = [];
  const push = async (who: number): Promise<void> => {
    const own = `org.test.P${who}`;
    const dev = await publishing.repository(`dev-${who}`);
    // Longer where the machine is faster than publishers die.
    const isEnough = (round: number) => round >= ROUNDS && (publishers.killed > 2 || round >= 5 * ROUNDS);
    for (let round = 0; !isEnough(round); round++) {
      const said = `${who}-${round}`;
      // Two of them publish the same application beside their own.
      const apps = who < 2 ? [own, SHARED] : [own];
      const devs = [];
      for (const app of apps)
        devs.push({ from: dev, ref: refOf(app), commit: await world.app(dev, said, { id: app }) });
      const asked = { caller, repository: "stable", timeoutMs: PATIENCE_MS };
      const { id: build, status } = await publishDeveloped(asked, ...devs);
      builds.push({ id: build, number: status.number });
      for (const app of apps) says.set(app, said);
    }
  };
  const prune = async (): Promise<void> => {
    const { pruned } = await shown();
    if ((await call("POST", "/repositories/stable/prune", { body: {} })).status === 503) return;
    await eventually(async () => ((await shown()).pruned?.at !== pruned?.at ? true : undefined), "pruned", PATIENCE_MS);
  };
  const counts = { prunes: 0, installs: 0 };
  const pruneOn = async (): Promise<void> => {
    for (; !over.signal.aborted; counts.prunes++) {
      await prune();
      await pause(500, over.signal);
    }
  };
  const installOn = async (client: Client): Promise<void> => {
    for (; !over.signal.aborted; counts.installs++) {
      const offered = [...says.keys()];
      const app = offered[counts.installs % Math.max(1, offered.length)];
      if (app === undefined) await pause(200, over.signal);
      else {
        const has = (await client.flatpak("list", "--app", "--columns=application")).includes(app);
        await client.flatpak(has ? "update" : "install", ...(has ? [app] : ["stable", app]));
        assert.match(await client.flatpak("run", app), /^\d-\d+\n$/);
        if (counts.installs % 3 === 2) await client.flatpak("uninstall", app);
      }
    }
  };
  /** As often as something new was published, at any moment after it: however slow the machine is, they come on. */
  const killOn = async (): Promise<void> => {
    for (let known = ""; !over.signal.aborted; ) {
      const now = JSON.stringify([...(await main.refs("app"))]);
      await pause(now === known ? 200 : Math.random() * 6_000, over.signal);
      if (now === known || over.signal.aborted) continue;
      known = now;
      await publishers.kill();
    }
  };

  const add = async (name: string): Promise<Client> => {
    const client = await newClient(publishing, name);
    await client.flatpak("remote-add", "stable", `${address}/repo/stable/stable.flatpakrepo`);
    return client;
  };
  const installer = await add("installer");
  const pushing = Promise.all([0, 1, 2, 3].map(push)).finally(() => over.abort());
  await Promise.all([
    pushing,
    ...[pruneOn(), installOn(installer), killOn()].map((each) =>
      each.catch((error) => {
        over.abort();
        throw error;
      }),
    ),
  ]);
  console.log(`${builds.length} builds, ${JSON.stringify(counts)}, killed ${publishers.killed} times`);
  assert.ok(counts.prunes > 2 && counts.installs > 4 && publishers.killed > 2, JSON.stringify(counts));

  for (const { number } of builds) {
    await untilBuild({ caller }, number, ({ deltas }) => deltas !== undefined, publishers.said, PATIENCE_MS);
  }
  for (const { id: build } of builds) await assertOnce(log, build);
  const whole = async (name: string): Promise<void> => {
    // What references lead to is told apart from what nothing leads to any more.
    for (const [, commit] of await main.refs()) await closure(main, commit);
    assert.equal(await publishing.fsck(main), undefined, `${name}: all that references lead to is there`);
    const seen = await published(main);
    const client = await add(name);
    for (const [ref, commit] of await main.refs()) {
      await closure(main, commit);
      if (!ref.startsWith("app/")) continue;
      assert.equal(seen?.get(ref), commit, `clients do not see ${ref}`);
      const app = ref.split("/")[1]!;
      await client.flatpak("install", "stable", app);
      const said = await client.flatpak("run", app);
      if (app === SHARED) assert.match(said, /^[01]-\d+\n$/);
      else assert.equal(said, `${says.get(app)}\n`);
    }
    assert.equal((await client.flatpak("list", "--app", "--columns=application")).trim().split("\n").length, 5);
  };
  await whole("at-the-end");
  await expect(202, "POST", "/repositories/stable/validate", { body: {} });
  const { validation } = await eventually(
    async () => {
      const status = await shown();
      return status.validation === undefined ? undefined : status;
    },
    "validated",
    PATIENCE_MS,
  );
  assert.deepEqual([validation.found, validation.findings], [0, []]);
  // What was quarantined goes for good, and with it nothing that anybody needs.
  const none = { ...retention, snapshots: 0, graceHours: 0 };
  await expect(200, "PATCH", "/repositories/stable", { body: { retention: none }, headers: { "if-match": "*" } });
  await settled();
  for (let round = 0; round < 3; round++) await prune();
  assert.ok((await shown()).pruned.at !== undefined);
  await whole("after-all");
  await publishers.stop();
});

test.run();
