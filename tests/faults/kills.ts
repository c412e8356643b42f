/** Processes of a whole platform ended by SIGKILL again and again, under load; and what must be true afterwards. */
import { CONTEXTS } from "@millrace/domain/contexts.ts";
import { VIEWS } from "@millrace/domain/views.ts";
import { PROJECTIONS } from "@millrace/projector/start.ts";
import * as assert from "uvu/assert";
import { type House, openHouse, pause, until } from "./house.ts";
import { Load } from "./load.ts";
import { differenceOf, Subscriber, type SubscriberOptions } from "./subscribers.ts";
import { auditAll, isProjected, wholeLog } from "./truth.ts";

export interface KillsOptions {
  readonly kills: number;
  readonly writers: number;
  readonly subscribers: number;
  /** Between two kills, at least and at most. */
  readonly betweenMs: readonly [number, number];
  /** So many, then everything is waited for. */
  readonly burst: number;
  /** Everything must be ready again this long after the last one. */
  readonly readyMs: number;
}

export interface KillsReport {
  readonly kills: Readonly<Record<string, number>>;
  readonly acknowledged: number;
  readonly givenUp: number;
  readonly holes: number;
  readonly doubles: number;
  /** From the last kill of a burst until everything was ready, in order of size. */
  readonly recoveryMs: ReadonlyArray<number>;
  /** Until the read models were at the log's end, after the load. */
  readonly projectedMs: number;
  readonly counts: Load["counts"];
  readonly connections: number;
}

const VICTIMS = ["gateway", "projector", "nats", "postgres"];

export async function killsUnderLoad(options: KillsOptions): Promise<KillsReport> {
  const house = await openHouse({ backoff: { firstMs: 150, mostMs: 1_200 } });
  const target = { urls: [house.url], token: house.owner };
  const subscribers = Array.from(
    { length: options.subscribers },
    (_, i) => new Subscriber({ ...target, ...wantOf(i) }),
  );
  const load = new Load({ ...target, writers: options.writers, giveUp: 0.05, pauseMs: 5 });
  await load.start();
  const { kills, recoveryMs } = await killAgainAndAgain(house, load, options);
  await load.stop();
  assert.equal(load.wrong, [], "no answer was wrong");

  const [log, postgres] = [await house.openLog(), house.openPostgres()];
  const began = Date.now();
  await until("the read models are at the log's end", () => isProjected(postgres, log.nats, PROJECTIONS), 120_000);
  const projectedMs = Date.now() - began;
  const commits = await wholeLog(log.nats, Object.keys(CONTEXTS));
  const { lost, twice } = load.compare(commits.get("work")!);
  assert.equal(lost.slice(0, 10), [], `lost, of ${load.acknowledged.length} acknowledged`);
  assert.equal(twice.slice(0, 10), [], "done twice");

  const organisation = commits.get("work")![0]!.organisation;
  const { holes, doubles } = await auditSubscribers(subscribers, commits, organisation);
  assert.equal(await auditAll(log.nats, postgres, VIEWS), [], "feed, read models and history are what the log says");
  // Last, because what is wrong here changes the log; what it says is looked for in the log as it was.
  assert.equal(await load.repeatSome(100, commits.get("work")!), [], "a repeat is answered as the first time");
  await log.nats.nc.close();
  await postgres.close();
  assert.equal(await house.stop(), [], "nothing is left running");
  return {
    kills,
    acknowledged: load.acknowledged.length,
    givenUp: load.givenUp.size,
    holes,
    doubles,
    recoveryMs: recoveryMs.sort((a, b) => a - b),
    projectedMs,
    counts: load.counts,
    connections: subscribers.reduce((sum, { connections }) => sum + connections, 0),
  };
}

/** Half over each transport; all events, single types, one context, and those that hang up by themselves. */
function wantOf(i: number): Pick<SubscriberOptions, "transport" | "types" | "contexts" | "moodyMs"> {
  const transport = i % 2 === 0 ? "websocket" : "sse";
  switch (i % 4) {
    case 1:
      return { transport, moodyMs: 1_500 };
    case 2:
      return { transport, types: ["ItemCommented", "ItemMoved"] };
    case 3:
      return { transport, contexts: ["work"] };
    default:
      return { transport };
  }
}

/** In bursts; between them everything must come back and work go on, or nothing but starting would be tried. */
async function killAgainAndAgain(
  house: House,
  load: Load,
  { kills: wanted, burst, betweenMs: [least, most], readyMs }: KillsOptions,
): Promise<{ kills: Record<string, number>; recoveryMs: number[] }> {
  const kills: Record<string, number> = {};
  const recoveryMs: number[] = [];
  for (let done = 0; done < wanted; ) {
    await pause(least + Math.random() * (most - least));
    const name = house.killOne(VICTIMS);
    if (name === undefined) continue;
    done++;
    kills[name] = (kills[name] ?? 0) + 1;
    if (done % burst !== 0 && done !== wanted) continue;
    recoveryMs.push(await house.ready(readyMs));
    const before = load.acknowledged.length;
    await until("work goes on", () => load.acknowledged.length > before + 20, readyMs);
    if (done % 50 === 0) console.log(`  ${done} kills, ${load.acknowledged.length} changes acknowledged`);
  }
  return { kills, recoveryMs };
}

/** Waits until each has seen as much as it must, and compares. @throws when something is missing, twice or out of order */
export async function auditSubscribers(
  subscribers: ReadonlyArray<Subscriber>,
  commits: Awaited<ReturnType<typeof wholeLog>>,
  organisation: string,
): Promise<{ readonly holes: number; readonly doubles: number }> {
  let [holes, doubles] = [0, 0];
  for (const [i, subscriber] of subscribers.entries()) {
    const expected = subscriber.expected(commits, organisation);
    const wanted = [...expected.values()].reduce((sum, ids) => sum + ids.length, 0);
    assert.ok(wanted > 0, `subscriber ${i} has something to see`);
    // What never comes is counted below, as holes.
    await until("it has seen all", () => subscriber.count >= wanted, 60_000).catch(() => {});
    await subscriber.stop();
    assert.equal([...subscriber.wrong], [], `subscriber ${i} was told nothing wrong`);
    for (const [context, ids] of expected) {
      const difference = differenceOf(subscriber.seen.get(context) ?? [], ids);
      holes += difference.holes;
      doubles += difference.doubles;
      const none = { holes: 0, doubles: 0, disorder: 0, foreign: 0 };
      assert.equal(difference, none, `subscriber ${i} (${JSON.stringify(subscriber.options)}) in ${context}`);
    }
    for (const context of subscriber.seen.keys()) assert.ok(expected.has(context), `subscriber ${i} sees ${context}`);
  }
  return { holes, doubles };
}

export function printKills(report: KillsReport): void {
  const { recoveryMs, kills, counts, ...figures } = report;
  const at = (share: number) => recoveryMs[Math.min(recoveryMs.length - 1, Math.floor(recoveryMs.length * share))];
  console.log(`  kills ${JSON.stringify(kills)}, ${JSON.stringify(figures)}`);
  console.log(
    `  everything is ready again after ${at(0.5)} ms (median of ${recoveryMs.length}), ${at(1)} ms (longest)`,
  );
  console.log(`  ${JSON.stringify(counts)}`);
}
