/** One part of the platform away for a while, under load: what goes on meanwhile, what is said, and that nothing is missing afterwards. */
import { CONTEXTS } from "@millrace/domain/contexts.ts";
import { VIEWS } from "@millrace/domain/views.ts";
import { PROJECTIONS } from "@millrace/projector/start.ts";
import * as assert from "uvu/assert";
import { startOwnNats, startRestartablePostgres } from "../harness/servers.ts";
import { type House, openHouse, pause, until } from "./house.ts";
import { auditSubscribers } from "./kills.ts";
import { Load } from "./load.ts";
import { Subscriber } from "./subscribers.ts";
import { auditAll, isProjected, wholeLog } from "./truth.ts";

interface Scene {
  readonly house: House;
  readonly load: Load;
  readonly subscribers: ReadonlyArray<Subscriber>;
}

async function begin(house: House, urls: ReadonlyArray<string> = [house.url]): Promise<Scene> {
  const target = { urls, token: house.owner };
  const subscribers = [
    new Subscriber({ ...target, transport: "websocket" }),
    new Subscriber({ ...target, transport: "sse" }),
  ];
  const load = new Load({ ...target, writers: 4, pauseMs: 10 });
  await load.start();
  await until(
    "work is done and heard of",
    () => load.acknowledged.length > 20 && subscribers.every(({ count }) => count > 20),
    60_000,
  );
  return { house, load, subscribers };
}

/** Ends the load, and compares everything with the log. @returns the figures */
async function end({ house, load, subscribers }: Scene): Promise<object> {
  await load.stop();
  assert.equal(load.wrong, [], "no answer was wrong");
  const [log, postgres] = [await house.openLog(), house.openPostgres()];
  const began = Date.now();
  await until("the read models are at the log's end", () => isProjected(postgres, log.nats, PROJECTIONS), 120_000);
  const projectedMs = Date.now() - began;
  const commits = await wholeLog(log.nats, Object.keys(CONTEXTS));
  const { lost, twice } = load.compare(commits.get("work")!);
  assert.equal([...lost, ...twice].slice(0, 10), [], `lost or twice, of ${load.acknowledged.length}`);
  const heard = await auditSubscribers(subscribers, commits, commits.get("work")![0]!.organisation);
  assert.equal(await auditAll(log.nats, postgres, VIEWS), [], "feed, read models and history are what the log says");
  assert.equal(await load.repeatSome(30), [], "a repeat is answered as the first time");
  await log.nats.nc.close();
  await postgres.close();
  assert.equal(await house.stop(), [], "nothing is left running");
  return { acknowledged: load.acknowledged.length, ...heard, projectedMs, ...load.counts };
}

interface Answer {
  readonly status: number;
  readonly retryAfter: number;
  readonly ms: number;
  // biome-ignore lint/suspicious/noExplicitAny: whatever was answered
  readonly body: any;
}

async function get(house: House, path: string, url = house.url): Promise<Answer> {
  const began = Date.now();
  const response = await fetch(`${url}/v1/organisations/home${path}`, {
    headers: { authorization: `Bearer ${house.owner}` },
    signal: AbortSignal.timeout(60_000),
  });
  const text = await response.text();
  const retryAfter = Number(response.headers.get("retry-after") ?? Number.NaN);
  return {
    status: response.status,
    retryAfter,
    ms: Date.now() - began,
    body: text === "" ? undefined : JSON.parse(text),
  };
}

/** @param awayMs how long it is away */
export async function postgresAway(awayMs: number): Promise<object> {
  const postgres = await startRestartablePostgres();
  const house = await openHouse({ flags: { postgresUrl: await postgres.createDatabase("house") } });
  const scene = await begin(house);
  const { load, subscribers } = scene;
  const id = load.acknowledged[0]!.id;
  await until("lists are answered", async () => (await get(house, "/work-items")).status === 200, 60_000);

  await postgres.stop("SIGINT");
  const stoppedAt = Date.now();
  const began = { acknowledged: load.acknowledged.length, seen: subscribers.map(({ count }) => count) };
  let longest = 0;
  let asked = 0;
  while (Date.now() - stoppedAt < awayMs) {
    for (const path of ["/work-items?limit=5", `/work-items/${id}/history`, "/work-items?q=work"]) {
      const answer = await get(house, path);
      assert.is(answer.status, 503, `${path}: ${JSON.stringify(answer.body)}`);
      assert.is(answer.body.what, "queries");
      assert.ok(answer.retryAfter > 0, "Retry-After");
      longest = Math.max(longest, answer.ms);
      asked++;
    }
    const single = await get(house, `/work-items/${id}`);
    assert.is(single.status, 200, "a single one is read from the log");
    assert.is((await fetch(`${house.url}/readyz`)).status, 200, "the gateway goes on serving");
    await pause(100);
  }
  const acknowledgedMeanwhile = load.acknowledged.length - began.acknowledged;
  const heardMeanwhile = subscribers.map(({ count }, i) => count - began.seen[i]!);
  assert.ok(acknowledgedMeanwhile > 10, `commands go on: ${acknowledgedMeanwhile}`);
  for (const heard of heardMeanwhile) assert.ok(heard > 10, `subscriptions go on: ${heardMeanwhile}`);
  assert.is(load.counts.broken, 0, "no connection broke");

  await postgres.restart();
  const restartedAt = Date.now();
  await until("lists are answered again", async () => (await get(house, "/work-items")).status === 200, 60_000);
  const answeredAfterMs = Date.now() - restartedAt;
  await house.ready(60_000);
  const readyAfterMs = Date.now() - restartedAt;
  const figures = await end(scene);
  return {
    awayMs,
    asked,
    longestRefusalMs: longest,
    acknowledgedMeanwhile,
    heardMeanwhile,
    answeredAfterMs,
    readyAfterMs,
    ...figures,
  };
}

/** @param rounds how often, @param awayMs how long each time */
export async function natsAway(rounds: number, awayMs: number): Promise<object> {
  let nats = await startOwnNats();
  const { url, user, password } = nats;
  const house = await openHouse({ flags: { natsUrl: url, natsUser: user, natsPassword: password } });
  const scene = await begin(house);
  const { load } = scene;
  const id = load.acknowledged[0]!.id;
  const backMs: number[] = [];
  let refused = 0;
  let longest = 0;
  for (let round = 0; round < rounds; round++) {
    await (round % 2 === 0 ? nats.kill() : nats.stop());
    const stoppedAt = Date.now();
    while (Date.now() - stoppedAt < awayMs) {
      const answer = await get(house, `/work-items/${id}`);
      // What was asked just before it was known to be away may still be answered from memory of authorisation, never wrongly.
      if (answer.status === 503) {
        assert.ok(answer.body.what && answer.retryAfter > 0, JSON.stringify(answer.body));
        refused++;
      } else assert.is(answer.status, 200, JSON.stringify(answer.body));
      longest = Math.max(longest, answer.ms);
      await pause(50);
    }
    const before = load.acknowledged.length;
    const restartedAt = Date.now();
    nats = await nats.restart();
    await until("changes are acknowledged again", () => load.acknowledged.length > before, 60_000);
    backMs.push(Date.now() - restartedAt);
    await house.ready(60_000);
    await until("work goes on", () => load.acknowledged.length > before + 50, 60_000);
  }
  assert.ok(refused > 0, "it was really away");
  assert.is(house.restarts("gateway") + house.restarts("projector"), 0, "nobody had to be started again");
  return { rounds, awayMs, backMs, refused, longestAnswerMs: longest, ...(await end(scene)) };
}

/** Two gateways and two projectors: the first of each is killed and stays away, the second goes on. */
export async function oneOfTwo(): Promise<object> {
  // Ended processes stay away for longer than the test looks.
  const house = await openHouse({ backoff: { firstMs: 60_000, mostMs: 60_000 } });
  const second = await house.another("gateway");
  await house.another("projector");
  const scene = await begin(house, [house.url, second.url]);
  const { load, subscribers } = scene;

  const id = load.acknowledged[0]!.id;
  house.kill("gateway");
  const killedAt = Date.now();
  let served = 0;
  while (Date.now() - killedAt < 3_000) {
    const answer = await get(house, "/work-items?limit=5", second.url);
    // A machine that is busy may let a query wait too long, which is said; a command must not care.
    if (answer.status === 200) served++;
    else assert.ok(answer.status === 503 && answer.body.what === "queries", JSON.stringify(answer.body));
    assert.is((await get(house, `/work-items/${id}`, second.url)).status, 200, "a single one");
  }
  assert.ok(served > 0, "lists are answered");
  const before = load.acknowledged.length;
  const seen = subscribers.map(({ count }) => count);
  await until(
    "commands and subscriptions go on",
    () => load.acknowledged.length > before + 20 && subscribers.every(({ count }, i) => count > seen[i]! + 20),
    60_000,
  );

  const log = await house.openLog();
  const postgres = house.openPostgres();
  house.kill("projector");
  const projectorKilledAt = Date.now();
  const heard = subscribers.map(({ count }) => count);
  await until("the feed goes on", () => subscribers.every(({ count }, i) => count > heard[i]! + 20), 60_000);
  const feedBackMs = Date.now() - projectorKilledAt;
  const head = await log.head("work");
  await until(
    "the read models go on",
    async () => {
      const rows = await postgres.query<{ seq: number }>(
        "SELECT seq FROM millrace.projection WHERE context = 'work' AND shown",
      );
      return rows.length > 0 && rows.every(({ seq }) => seq >= head);
    },
    90_000,
  );
  const projectedBackMs = Date.now() - projectorKilledAt;
  await log.nats.nc.close();
  await postgres.close();
  assert.is(house.pid("gateway"), undefined, "the first gateway is still away");
  assert.is(house.pid("projector"), undefined, "the first projector is still away");
  return { served, feedBackMs, projectedBackMs, ...(await end(scene)) };
}
