/** What leases promise, as one suite for one server and for three. */
import * as assert from "uvu/assert";
import { eventually } from "../tests/harness/eventually.ts";
import type { Suite } from "../tests/harness/suite.ts";
import { connectNats, type Nats, type NatsSettings } from "./connection.ts";
import { type Lease, type LeaseHolder, type LeaseSettings, Leases } from "./leases.ts";
import { type Owner, thisOwner } from "./owner.ts";
import { runSingleton } from "./singleton.ts";

const TTL = 2_000;
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const isLease = (answer: Lease | { heldBy: LeaseHolder }): answer is Lease => !("heldBy" in answer);

export function leasePromises(test: Suite, settings: () => Promise<NatsSettings>): void {
  let nats: Nats;
  const all: Leases[] = [];
  const open = async (more: Partial<LeaseSettings> = {}) => {
    const leases = await Leases.open(nats, { node: "home", ttlMs: TTL, ...more });
    all.push(leases);
    return leases;
  };
  let a: Leases;
  let b: Leases;
  test.before(async () => {
    nats = await connectNats(await settings());
    a = await open();
    b = await open();
  });
  test.after(async () => {
    await Promise.all(all.map((leases) => leases.close()));
    await nats?.close();
  });
  const take = async (leases: Leases, key: string): Promise<Lease> => {
    const lease = await leases.acquire(key, "test");
    assert.ok(isLease(lease), JSON.stringify(lease));
    return lease as Lease;
  };

  test("of many that want it at once one gets it", async () => {
    for (let round = 0; round < 10; round++) {
      const answers = await Promise.all(
        Array.from({ length: 10 }, (_, i) => (i % 2 ? a : b).acquire(`race.${round}`, "x")),
      );
      assert.is(answers.filter(isLease).length, 1, `round ${round}`);
      for (const lease of answers.filter(isLease)) await lease.release();
    }
  });

  test("the other sees who holds it, since when, until when, and for what", async () => {
    const lease = await take(a, "seen");
    const answer = await b.acquire("seen", "y");
    assert.ok(!isLease(answer));
    const { heldBy } = answer as { heldBy: LeaseHolder };
    assert.is(heldBy.owner.name, a.owner.name);
    assert.is(heldBy.about, "test");
    assert.is(heldBy.epoch, lease.epoch);
    assert.ok(Date.parse(heldBy.expiresAt) > Date.now());
    await eventually(async () => b.list().find(({ key }) => key === "seen"), "the list has it");
    await lease.release();
  });

  test("released, it is free at once, its end is told, and the epoch grows", async () => {
    const told: string[] = [];
    const stop = b.onEnd(({ key }, how) => told.push(`${key} ${how}`));
    const first = await take(a, "free");
    await eventually(async () => b.list().find(({ key }) => key === "free"), "seen");
    await first.release();
    assert.not.ok(first.held());
    const second = await take(b, "free");
    assert.ok(second.epoch > first.epoch);
    await eventually(async () => told.includes("free released") || undefined, "told");
    stop();
    await second.release();
  });

  test("renewed for as long as it is held", async () => {
    const lease = await take(a, "long");
    const until = Date.now() + 2.5 * TTL;
    while (Date.now() < until) {
      assert.not.ok(isLease(await b.acquire("long", "x")));
      await pause(200);
    }
    assert.ok(lease.held());
    const holder = await b.holder("long");
    assert.is(holder?.epoch, lease.epoch, "renewing is not taking");
    await lease.release();
  });

  test("not renewed it goes by itself, its end is told, and nothing is left of it", async () => {
    const told: string[] = [];
    const stop = a.onEnd(({ key }, how) => told.push(`${key} ${how}`));
    const record = { owner: { ...thisOwner(), place: "elsewhere" }, node: "attic", since: "", about: "z", ttlMs: TTL };
    const began = Date.now();
    await nats.js.publish("$KV.LEASES.silent", JSON.stringify({ ...record, epoch: 0 }), { ttl: "2s" });
    await eventually(async () => told.includes("silent expired") || undefined, "expired");
    assert.ok(Date.now() - began >= TTL - 50, "not before its time");
    const lease = await take(b, "silent");
    await lease.release();
    stop();
    await eventually(async () => {
      const { state } = await nats.jsm.streams.info("KV_LEASES");
      return state.messages === 0 || undefined;
    }, "the bucket is empty");
  });

  test("taken by another, the holder loses it and is told", async () => {
    const lease = await take(a, "stolen");
    const there = (await a.holder("stolen")) as LeaseHolder;
    const thief = { ...there, owner: { ...b.owner, name: "thief" } };
    await nats.js.publish("$KV.LEASES.stolen", JSON.stringify(thief), { ttl: "2s" });
    await eventually(async () => lease.signal.aborted || undefined, "lost");
    assert.not.ok(lease.held());
    await lease.release();
    assert.is((await a.holder("stolen"))?.owner.name, "thief", "a lost lease releases nothing");
  });

  test("a holder of this machine that is dead is not waited for; one elsewhere is", async () => {
    const dead: Owner = { ...thisOwner(), name: "dead", pid: 2 ** 22 - 3 };
    const record = { owner: dead, node: "home", since: "", about: "z", ttlMs: 60_000, epoch: 0 };
    const told: string[] = [];
    const stop = a.onEnd(({ key }, how) => told.push(`${key} ${how}`));
    await nats.js.publish("$KV.LEASES.dead", JSON.stringify(record), { ttl: "60s" });
    await nats.js.publish("$KV.LEASES.far", JSON.stringify({ ...record, owner: { ...dead, place: "another boot" } }), {
      ttl: "60s",
    });
    const lease = await take(b, "dead");
    assert.not.ok(isLease(await b.acquire("far", "x")), "what cannot be known counts as living");
    await lease.release();
    await nats.js.publish("$KV.LEASES.dead2", JSON.stringify(record), { ttl: "60s" });
    await eventually(async () => told.includes("dead2 dead") || undefined, "taken away by who looks");
    stop();
  });

  test("a singleton runs once, and goes over when its holder ends", async ({ defer }) => {
    const running: string[] = [];
    const ends: Record<string, AbortController> = { a: new AbortController(), b: new AbortController() };
    let most = 0;
    const start = (name: "a" | "b", leases: Leases) =>
      runSingleton({
        leases,
        name: "singleton.test",
        signal: ends[name]!.signal,
        work: async (signal) => {
          running.push(name);
          most = Math.max(most, running.length);
          await new Promise((resolve) => signal.addEventListener("abort", resolve));
          running.splice(running.indexOf(name), 1);
        },
      });
    const both = [start("a", a), start("b", b)];
    defer(() => {
      ends.a!.abort();
      ends.b!.abort();
    });
    const first = await eventually(async () => running[0] as "a" | "b" | undefined, "one runs");
    const other = first === "a" ? "b" : "a";
    assert.is((await a.holder("singleton.test"))?.owner.name, (first === "a" ? a : b).owner.name);
    ends[first]!.abort();
    await eventually(async () => running[0] === other || undefined, "the other runs");
    ends[other]!.abort();
    await Promise.all(both);
    assert.is(most, 1);
    assert.is(await a.holder("singleton.test"), undefined);
  });
}
