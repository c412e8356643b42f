/**
 * Many writers and a million events: who follows the log, and who subscribes at the gateway, sees every event once and in
 * order; the feed and the tables are exact at the end; and no process grows with what it has seen.
 *
 * READERS_EVENTS: how many events (1 000 000). READERS_WRITERS: how many writers (48).
 */
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { makeId } from "@millrace/contracts/ids.ts";
import { VIEWS } from "@millrace/domain/views.ts";
import { BUILT_IN_TYPES } from "@millrace/domain/work/builtin.ts";
import { type ItemCommand, item } from "@millrace/domain/work/item.ts";
import type { EventLog } from "@millrace/eventlog/eventlog.ts";
import { execute } from "@millrace/eventlog/execute.ts";
import { follow } from "@millrace/eventlog/follow.ts";
import { processesWhere, workingFolder } from "@millrace/local/process.ts";
import { PROJECTIONS } from "@millrace/projector/start.ts";
import * as assert from "uvu/assert";
import { type House, openHouse, until } from "../faults/house.ts";
import { Load } from "../faults/load.ts";
import { Subscriber } from "../faults/subscribers.ts";
import { auditAll, isProjected, readLog } from "../faults/truth.ts";
import { suite } from "../harness/suite.ts";

const EVENTS = Number(process.env.READERS_EVENTS ?? 1_000_000);
const WRITERS = Number(process.env.READERS_WRITERS ?? 48);
const test = suite("readers");
const newId = (prefix: string): string => makeId(prefix, Date.now(), randomBytes(16));

/** One who follows the log from its beginning. */
class Reader {
  events = 0;
  holes = 0;
  doubles = 0;
  #last = 0;
  readonly #stop = new AbortController();
  readonly #following: Promise<void>;

  constructor(log: EventLog) {
    this.#following = follow(log.nats, {
      context: "work",
      fromSeq: 1,
      most: 1_000,
      signal: this.#stop.signal,
      onBatch: ({ commits, lastSeq }) => {
        for (const { seq, events } of commits) {
          // Work makes no claims but for types, and none are defined here: every sequence is a commit.
          if (seq > this.#last + 1) this.holes++;
          if (seq <= this.#last) this.doubles++;
          this.#last = seq;
          this.events += events.length;
        }
        this.#last = lastSeq;
      },
    });
  }

  get seq(): number {
    return this.#last;
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#following;
  }
}

const commandsOfOneItem = (n: number): ItemCommand[] => [
  { do: "open", workflow: BUILT_IN_TYPES.get("task")!, title: `Work ${n}`, labels: ["soak"], lineIds: [newId("lin")] },
  ...Array.from({ length: 10 }, (_, i): ItemCommand[] => [
    { do: "change", title: `Work ${n}, ${i}`, description: `As of ${i}.`, dueOn: `2027-01-${10 + i}` },
    { do: "comment", comment: newId("cmt"), text: `Done so far: ${i}.` },
  ]).flat(),
];

/** As a worker of ours writes: through the rules, not through the gateway. @returns how many events */
async function write(log: EventLog, organisation: string, until: () => boolean): Promise<number> {
  let written = 0;
  for (let n = 0; !until(); n++) {
    const id = newId("itm");
    for (const command of commandsOfOneItem(n)) {
      const commandId = `cmd_${randomBytes(16).toString("base64url")}`;
      const before = log.aggregates.cached(item, id)?.version ?? 0;
      const outcome = await execute(
        log,
        { kind: item, id, command },
        {
          organisation,
          actor: { kind: "system", id: "soak", name: "soak" },
          commandId,
          digest: "",
          correlation: commandId,
          causation: commandId,
          now: new Date().toISOString(),
        },
      );
      if ("refusal" in outcome) throw new Error(JSON.stringify(outcome.refusal));
      written += outcome.ok.loaded.version - before;
    }
    log.aggregates.forget(item, id);
  }
  return written;
}

/** Mebibytes that each service holds. */
function memory(house: House): Record<string, number> {
  const held = (pid: number, field: string): number => {
    try {
      return (
        Number(new RegExp(`^${field}:\\s+(\\d+)`, "m").exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0) /
        1024
      );
    } catch {
      return 0;
    }
  };
  const sample: Record<string, number> = {};
  for (const name of ["gateway", "projector", "nats"]) sample[name] = Math.round(held(house.pid(name)!, "VmRSS"));
  const folder = workingFolder(house.pid("postgres")!);
  // What its processes share is counted for each: here only what is their own.
  const servers = processesWhere((pid) => workingFolder(pid) === folder);
  sample.postgres = Math.round(servers.reduce((sum, pid) => sum + held(pid, "RssAnon"), 0));
  return sample;
}

test(`${EVENTS} events by ${WRITERS} writers`, { timeoutMs: 2 * 3_600_000 }, async ({ skip }) => {
  if (process.platform !== "linux") skip("memory of processes is read from /proc");
  const house = await openHouse();
  const log = await house.openLog();
  const postgres = house.openPostgres();
  const subscriber = new Subscriber({
    urls: [house.url],
    token: house.owner,
    transport: "websocket",
    contexts: ["work"],
  });
  const load = new Load({ urls: [house.url], token: house.owner, writers: 2, pauseMs: 20 });
  await load.start();
  const reader = new Reader(log);
  await until("the first events are there", () => reader.events > 0, 30_000);
  let organisation = "";
  for await (const [first] of readLog(log.nats, "work")) {
    organisation ||= first?.organisation ?? "";
    break;
  }

  const began = Date.now();
  const samples = new Map<number, Record<string, number>>();
  const sizes = [10_000, 100_000, 1_000_000].filter((size) => size < EVENTS).concat(EVENTS);
  const sampling = setInterval(() => {
    const size = sizes.find((one) => !samples.has(one));
    if (size === undefined || reader.events < size) return;
    samples.set(size, memory(house));
    const rate = Math.round(reader.events / ((Date.now() - began) / 1_000));
    console.log(`  ${size} events (${rate}/s): MiB ${JSON.stringify(samples.get(size))}`);
  }, 250);
  await Promise.all(Array.from({ length: WRITERS }, () => write(log, organisation, () => reader.events >= EVENTS)));
  await load.stop();
  assert.equal(load.wrong, [], "no answer was wrong");
  const head = await log.head("work");
  await until("the reader is at the end", () => reader.seq >= head, 120_000);
  await until("the last sample was taken", () => samples.size === sizes.length, 10_000);
  clearInterval(sampling);
  await reader.stop();
  await until("the read models are at the log's end", () => isProjected(postgres, log.nats, PROJECTIONS), 1_800_000);
  console.log(`  ${reader.events} events written and projected within ${Math.round((Date.now() - began) / 1_000)} s`);

  assert.equal([reader.holes, reader.doubles], [0, 0], "who follows the log sees all once");
  const seen = subscriber.seen.get("work") ?? [];
  await until("the subscriber has seen all", () => seen.length >= reader.events, 300_000).catch(() => {});
  await subscriber.stop();
  assert.equal([...subscriber.wrong], []);
  let at = 0;
  for await (const commits of readLog(log.nats, "work")) {
    for (const { seq, events } of commits) {
      for (let index = 0; index < events.length; index++) {
        if (seen[at++] !== `${seq}.${index}`)
          assert.unreachable(`the subscriber saw ${seen[at - 1]}, not ${seq}.${index}`);
      }
    }
  }
  assert.is(seen.length, at, "who subscribes sees all once");
  assert.equal(await auditAll(log.nats, postgres, VIEWS), [], "feed, read models and history are what the log says");
  console.log(`  0 holes, 0 doubles for reader and subscriber; at rest: MiB ${JSON.stringify(memory(house))}`);

  const [least, most] = [samples.get(sizes.at(-2)!), samples.get(sizes.at(-1)!)!];
  // Between the two stands ten times as much: what grew with it would show. What is kept in memory is bounded, and fills.
  for (const name of ["gateway", "projector"]) {
    if (least !== undefined)
      assert.ok(most[name]! < least[name]! * 1.5 + 150, `${name}: ${least[name]} MiB, then ${most[name]}`);
  }
  await log.nats.nc.close();
  await postgres.close();
  assert.equal(await house.stop(), [], "nothing is left running");
});

test.run();
