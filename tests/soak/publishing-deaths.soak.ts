/** Everything that a publisher does to a repository, under publishers that die at every step of it, one after another, over the same data. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { appendFileSync, existsSync, mkdirSync, readFileSync, utimesSync } from "node:fs";
import { dirname, join } from "node:path";
import { repository } from "@millrace/domain/publishing/repository.ts";
import { readCommits } from "@millrace/eventlog/aggregate.ts";
import { ChunkWriter } from "@millrace/eventlog/backup/chunks.ts";
import { backUpNode, restoreNode } from "@millrace/eventlog/backup/files.ts";
import { NodeUnreachable, nodeAway } from "@millrace/eventlog/backup/files-away.ts";
import { parseBackupKeys } from "@millrace/eventlog/backup/keys.ts";
import { openTarget } from "@millrace/eventlog/backup/open-target.ts";
import { ticketKeyOf } from "@millrace/eventlog/bytes-ticket.ts";
import { EventLog } from "@millrace/eventlog/eventlog.ts";
import { pause } from "@millrace/eventlog/pause.ts";
import { listNodes } from "@millrace/eventlog/presence.ts";
import { parseMasterKeys } from "@millrace/eventlog/sealing.ts";
import { servedPlaces } from "@millrace/eventlog/served.ts";
import { deltaFolder } from "@millrace/publisher/adapters/ostree/names.ts";
import { Repository } from "@millrace/publisher/adapters/ostree/repository.ts";
import { published } from "@millrace/publisher/adapters/ostree/summary.ts";
import { linksIn } from "@millrace/publisher/repositories/links.ts";
import { assertOnce, Publishers } from "../faults/deaths-of-builds.ts";
import { eventually } from "../harness/eventually.ts";
import { callerOf, testGateway } from "../harness/gateway.ts";
import { type Developed, develop } from "../harness/publisher.ts";
import { testPublishing } from "../harness/publishing.ts";
import { isLive, publishDeveloped, untilBuild } from "../harness/pushes.ts";
import { testFolder, testNats } from "../harness/servers.ts";
import { suite } from "../harness/suite.ts";

const test = suite("repositories under deaths", { timeoutMs: 3_600_000 });
const PATIENCE_MS = 240_000;
const anyway = { headers: { "if-match": "*" } };
/** Nothing is kept but what references lead to now. */
const NOTHING = { depth: 0, snapshots: 0, everyHours: 24, graceHours: 0 };

test("killed at every step, one after another", async (context) => {
  const publishing = await testPublishing(context);
  const nats = await testNats();
  const gateway = await testGateway({ natsUrl: nats.url, natsUser: nats.user, natsPassword: nats.pass });
  const caller = callerOf(gateway);
  const { expect } = caller;
  const connection = { url: nats.url, user: nats.user, password: nats.pass, name: "soak", replicas: 1 } as const;
  const log = await EventLog.open(connection, ["publishing"]);
  context.defer(() => log.close());
  const data = testFolder("publisher");
  const world = { gateway, caller, log, data, publishing };
  const calm = { MILLRACE_PRUNE_YOUNG_SECONDS: "0", MILLRACE_DELTA_DEPTH: "1", MILLRACE_SCRUB_MIB_PER_SECOND: "0" };

  /** What is asked comes to its end, although one after another dies on the way. */
  async function through<T>(
    points: readonly string[],
    ask: () => Promise<unknown>,
    until: () => Promise<T | undefined>,
    env: Readonly<Record<string, string>> = {},
  ): Promise<T> {
    const publishers = new Publishers({ ...world, env: { ...calm, ...env } }, points);
    publishers.start();
    await ask();
    const found = await eventually(
      async () => (publishers.died.length < points.length ? undefined : until()),
      `done, through ${points.join(", ")}`,
      PATIENCE_MS,
    ).catch((error: Error) => {
      throw new Error(`${error.message}; died at ${publishers.said()}`);
    });
    await publishers.stop();
    assert.deepEqual(publishers.died, points);
    return found;
  }
  const status = async (name: string) => (await expect(200, "GET", `/repositories/${name}`)).body.status;
  const settled = (name: string) => async () => {
    const now = await status(name);
    return now.state === "ready" && now.settled === true ? now : undefined;
  };
  const placeOf = (id: string): string => join(data, "publisher/local/repositories", id);
  const typesOf = async (id: string): Promise<string[]> => {
    const types: string[] = [];
    for await (const { events } of readCommits(log.nats, repository, id)) types.push(...events.map(({ type }) => type));
    return types;
  };
  /** Everything is as if nobody had died. */
  const whole = async (id: string): Promise<Repository> => {
    const main = await Repository.open(join(placeOf(id), "repo"));
    assert.equal(await publishing.fsck(main), undefined);
    const seen = await published(main);
    const refs = [...(await main.refs())].filter(([ref]) => ref.startsWith("app/"));
    assert.deepEqual([...(seen ?? [])].filter(([ref]) => ref.startsWith("app/")).sort(), refs.sort());
    return main;
  };

  // Made, and shown.
  const ids = new Map<string, string>();
  const create = async (name: string, more: object = {}) => {
    ids.set(name, (await expect(201, "POST", "/repositories", { body: { name, ...more } })).body.id);
  };
  await through(
    [
      "repository.key.before",
      "repository.made.before",
      "ostree.init.made",
      "repository.made.recorded",
      "repository.link.before",
      "repository.link.made",
      "repository.settings.before",
      "repository.settings.written",
      "repository.announced",
      "repository.snapshot.before",
      "repository.snapshot.kept",
      "repository.configured.recorded",
    ],
    () => create("stable", { title: "Ours", retention: { ...NOTHING, snapshots: 1 } }),
    settled("stable"),
  );
  const id = ids.get("stable")!;
  assert.equal((await typesOf(id)).filter((type) => type === "RepositoryMade").length, 1);
  await whole(id);

  // What was pushed is promoted, and gone back to.
  const first = await develop(publishing, "one");
  const push = (dev: Developed) => publishDeveloped({ caller, repository: "stable", timeoutMs: PATIENCE_MS }, dev);
  const withDeltas = (number: number) => () =>
    untilBuild({ caller }, number, (now) => isLive(now) && now.deltas !== undefined, undefined, PATIENCE_MS);
  let began: any;
  await through(
    [],
    async () => {
      began = await push(first);
      await withDeltas(began.status.number)();
      await create("other");
    },
    settled("other"),
  );
  const live = async (number: number) => {
    const { body } = await expect(200, "GET", `/builds/${number}`);
    return isLive(body.status) && body.status.deltas !== undefined ? body : undefined;
  };
  let promotion: any;
  await through(
    ["publish.promote.before", "publish.promote.pulled", "ostree.ref.before", "ostree.ref.renamed"],
    async () => {
      const asked = { body: { repository: "other" } };
      promotion = (await expect(202, "POST", `/builds/${began.id}/promote`, asked)).body;
    },
    () => live(promotion.status.number),
  );
  await assertOnce(log, promotion.id, ["BuildRefsPublished", "BuildPublished", "BuildDeltasMade"]);
  const other = await whole(ids.get("other")!);
  assert.equal(await other.ref(first.ref), began.status.refs[0].published, "the same commit");
  let away: any;
  await through(
    ["ostree.ref.removed"],
    async () => {
      away = (await expect(202, "POST", `/builds/${promotion.id}/unpublish`, { body: {} })).body;
    },
    () => live(away.status.number),
  );
  await assertOnce(log, away.id, ["BuildRefsRemoved", "BuildPublished"]);
  assert.equal(await (await whole(ids.get("other")!)).ref(first.ref), undefined);

  // Another key signs: commits and deltas anew.
  const rotated = await through(
    [
      "repository.key.before",
      "repository.key.made",
      "repository.rotated.recorded",
      "ostree.prune.retired",
      "repository.signed",
      "publish.delta.before",
      "publish.delta.made",
    ],
    () => expect(202, "POST", "/repositories/stable/rotate-key", { ...anyway, body: { overlapDays: 9 } }),
    async () => {
      const now = await settled("stable")();
      return now?.otherKeys?.length === 1 && now.rotating !== true ? now : undefined;
    },
  );
  assert.notEqual(rotated.key.fingerprint, rotated.otherKeys[0].fingerprint);
  assert.equal((await typesOf(id)).filter((type) => type === "RepositoryKeyMade").length, 2);
  const main = await whole(id);
  const to = (await main.ref(first.ref))!;
  const signatures = await publishing.tools.run("ostree", [`--repo=${main.root}`, "show", to], {
    allowed: [0, 1],
  });
  assert.match(signatures.toString(), /2 signatures|Found 2/);
  assert.ok(existsSync(join(main.root, deltaFolder({ from: undefined, to }), "superblock")), "its delta came back");

  // Looked through: when it is asked for, and by itself.
  const validated = await through(
    ["repository.validated"],
    () => expect(202, "POST", "/repositories/stable/validate", { body: {} }),
    async () => (await status("stable")).validation,
  );
  assert.deepEqual([validated.found, validated.findings], [0, []]);
  const scrubbed = () => {
    const path = join(main.root, ".millrace/scrub.json");
    return existsSync(path) ? JSON.parse(readFileSync(path, "utf8")) : {};
  };
  const round = await through(
    ["scrub.folder", "scrub.folder:100", "scrub.folder:155"],
    async () => {},
    async () => (scrubbed().endedAt > 0 ? scrubbed() : undefined),
    { MILLRACE_SCRUB_MIB_PER_SECOND: "1000" },
  );
  const sizes: number[] = [];
  for await (const names of main.objects()) sizes.push(names.filter((name) => !name.endsWith(".commitmeta")).length);
  assert.deepEqual([round.objects, round.found], [sizes.reduce((sum, each) => sum + each, 0), 0]);

  // Counted once.
  const { accessLog, ...places } = servedPlaces(data, "local");
  mkdirSync(dirname(accessLog), { recursive: true });
  const name = Buffer.from(to, "hex").toString("base64").slice(0, 43).replaceAll("/", "_");
  const line = {
    ts: Date.now() / 1_000,
    status: 200,
    request: {
      method: "GET",
      uri: `/repo/stable/delta-indexes/${name.slice(0, 2)}/${name.slice(2)}.index`,
      headers: { "Flatpak-Ref": [first.ref] },
    },
  };
  const lines = Array.from({ length: 7 }, (_, at) => JSON.stringify({ ...line, at }));
  const counted = await through(
    ["statistics.before", "statistics.written"],
    async () => appendFileSync(accessLog, `${lines.join("\n")}\n`),
    async () => {
      const answer = await caller.call("GET", "/repositories/stable/statistics");
      return answer.status === 200 && answer.body.days.length > 0 ? answer.body.days : undefined;
    },
  );
  assert.deepEqual([counted.length, counted[0].installs, counted[0].updates], [1, 7, 0]);

  // What nothing leads to: put aside, then gone.
  const second = await develop(publishing, "two");
  let newest: any;
  await through(
    [],
    async () => {
      newest = await push(second);
    },
    () => live(newest.status.number),
  );
  const prunes = async () => (await typesOf(id)).filter((type) => type === "RepositoryPruned").length;
  const before = await prunes();
  await through(
    [
      "repository.snapshot.dropped",
      "ostree.prune.moved",
      "ostree.prune.deleted",
      "repository.pruned",
      "ostree.prune.deleted:2",
    ],
    async () => {
      await expect(200, "PATCH", "/repositories/stable", { ...anyway, body: { retention: NOTHING } });
      await expect(202, "POST", "/repositories/stable/prune", { body: {} });
    },
    async () => ((await prunes()) > before ? true : undefined),
  );
  assert.equal(await prunes(), before + 1);
  await whole(id);
  assert.ok(!main.has(`${to}.commit`), "what was before is gone");

  // What a build has left that nobody knows any more.
  const left = join(placeOf(id), "builds", "bld_01kajzq4v0e8r9t2m5x7c3d6fg");
  await through(
    ["publisher.leftovers.before"],
    async () => {
      mkdirSync(join(left, "upload"), { recursive: true });
      const long = Date.now() / 1_000 - 7 * 86_400;
      utimesSync(left, long, long);
    },
    async () => (existsSync(left) ? undefined : true),
  );

  // What a backup takes of it: who asks hears that it broke off, and gets all of it from the next one.
  const secret = parseBackupKeys(randomBytes(32).toString("base64"));
  const target = openTarget(testFolder("target"));
  const backUp = async () => {
    const holders = (await listNodes(log.nats)).filter(({ service }) => service === "publisher");
    const ticketKey = ticketKeyOf(parseMasterKeys(gateway.config.masterKey!)[0].bytes);
    for (const { bytes: url } of holders) {
      if (url === undefined) continue;
      try {
        return await backUpNode({
          node: "local",
          dataFolder: data,
          ...nodeAway({ url, node: "local", ticketKey }),
          writer: new ChunkWriter(target, secret[0], new Map(), new Set()),
          before: (async function* () {})(),
          signal: new AbortController().signal,
        });
      } catch (error) {
        if (!(error instanceof NodeUnreachable)) throw error;
      }
    }
    return undefined;
  };
  let isDead = false;
  let asking: Promise<void> | undefined;
  const part = await through(
    ["publisher.backup.aside"],
    async () => {
      asking = (async () => {
        while (!isDead) await backUp().then(() => pause(200));
      })();
    },
    async () => {
      isDead = true;
      await asking;
      return backUp();
    },
  );
  const restoredTo = testFolder("restored");
  await restoreNode({ target, keys: secret }, part, restoredTo);
  const restored = await Repository.open(join(restoredTo, "publisher/local/repositories", id, "repo"));
  await restored.ensureFolders();
  assert.equal(await publishing.fsck(restored), undefined);
  assert.deepEqual(await restored.refs(), await main.refs());
  assert.ok(!existsSync(join(restoredTo, "publisher/local/backup")), "copies are not backed up as such");

  // Private, then deleted.
  await through(
    ["repository.link.before", "repository.link.made"],
    () => expect(200, "PATCH", "/repositories/stable", { ...anyway, body: { visibility: "private" } }),
    settled("stable"),
  );
  assert.deepEqual(
    [[...(await linksIn(places.public)).values()].includes(id), (await linksIn(places.private)).get(id)],
    [false, id],
  );
  await through(
    ["repository.unlinked", "repository.removed.files", "repository.removed.keys"],
    () => expect(204, "DELETE", "/repositories/stable", anyway),
    async () => ((await typesOf(id)).includes("RepositoryRemoved") ? true : undefined),
  );
  assert.equal((await typesOf(id)).filter((type) => type === "RepositoryRemoved").length, 1);
  assert.ok(!existsSync(placeOf(id)));
});

test.run();
