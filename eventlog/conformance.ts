/**
 * What the log promises, as one suite that runs against one server and against three: the two answer differently, and callers
 * must not notice. Each row of the table in docs/reference/log.md has its test here.
 */
import { jetstream } from "@nats-io/jetstream";
import { headers } from "@nats-io/transport-node";
import * as assert from "uvu/assert";
import type { Suite } from "../tests/harness/suite.ts";
import { counter, type Counter } from "../tests/harness/counter.ts";
import { readCommits } from "./aggregate.ts";
import { Appender, type Entry } from "./append.ts";
import type { StoredCommit } from "./commit.ts";
import { EventLog, type LogSettings } from "./eventlog.ts";
import { type CommandContext, execute, readClaim } from "./execute.ts";
import { AppendConflict, CommitRefused, UnknownEvent } from "./failures.ts";
import { follow } from "./follow.ts";
import { aggregateSubject, logStream } from "./subjects.ts";

const STREAM = logStream("toy");
let made = 0;
/** Ids that no other test of the run uses. */
export const newId = () => `cnt_${process.pid}x${++made}`;

export const entry = (id: string, commit: string, expected: number, text = "{}"): Entry => ({
  subject: aggregateSubject("toy", "counter", id),
  data: new TextEncoder().encode(text),
  id: commit,
  expected,
});

export const asCommand = (commandId: string, over: Partial<CommandContext> = {}): CommandContext => ({
  organisation: "org_a",
  actor: { kind: "token", id: "tok_a", name: "tests" },
  commandId,
  digest: `digest of ${commandId}`,
  correlation: commandId,
  causation: commandId,
  now: new Date().toISOString(),
  ...over,
});

const fails = async (promise: Promise<unknown>): Promise<unknown> => {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error("it should have failed");
};

export function logConformance(test: Suite, settings: () => Promise<LogSettings>): void {
  let log: EventLog;
  let other: EventLog;
  test.before(async () => {
    log = await EventLog.open(await settings(), ["toy"]);
    other = await EventLog.open(await settings(), ["toy"]);
  });
  test.after(async () => {
    await log?.close();
    await other?.close();
  });

  const count = async (id: string) => (await Array.fromAsync(readCommits(log.nats, counter, id))).length;
  const start = (id: string) => execute(log, { kind: counter, id, command: { do: "start", name: id } }, asCommand(`start-${id}`));

  test("a commit with the right expectation is stored; one with a wrong expectation conflicts and leaves nothing", async () => {
    const id = newId();
    const { seqs, found } = await log.append("toy", [entry(id, `${id}-1`, 0)]);
    assert.is(found, false);
    assert.instance(await fails(log.append("toy", [entry(id, `${id}-2`, 0)])), AppendConflict);
    assert.instance(await fails(log.append("toy", [entry(id, `${id}-3`, seqs[0]! + 1_000)])), AppendConflict);
    await log.append("toy", [entry(id, `${id}-4`, seqs[0]!)]);
    assert.is((await log.lastMessage(STREAM, aggregateSubject("toy", "counter", id)))!.seq > seqs[0]!, true);
  });

  test("the same commit sent again is found, not stored twice, and answers with its first sequence", async () => {
    const id = newId();
    const first = await log.append("toy", [entry(id, `${id}-1`, 0)]);
    for (let i = 0; i < 3; i++) {
      const again = await log.append("toy", [entry(id, `${id}-1`, 0)]);
      assert.equal(again.seqs, first.seqs);
    }
    const next = await log.append("toy", [entry(id, `${id}-2`, first.seqs[0]!)]);
    const late = await log.append("toy", [entry(id, `${id}-1`, 0)]);
    assert.equal(late.seqs, first.seqs, "also when others were appended since");
    assert.ok(next.seqs[0]! > first.seqs[0]!);
  });

  test("of many writers with the same expectation exactly one wins, each time", async () => {
    const id = newId();
    let expected = 0;
    for (let round = 0; round < 15; round++) {
      const tries = await Promise.allSettled(
        Array.from({ length: 20 }, (_, i) => (i % 2 ? log : other).append("toy", [entry(id, `${id}-${round}-${i}`, expected)])),
      );
      const won = tries.filter((t) => t.status === "fulfilled");
      assert.is(won.length, 1, `round ${round}`);
      for (const t of tries) if (t.status === "rejected") assert.instance(t.reason, AppendConflict);
      expected = won[0]!.value.seqs[0]!;
    }
  });

  test("a unit of several aggregates is stored whole or not at all, and found whole when sent again", async () => {
    const [a, b] = [newId(), newId()];
    const unit = [entry(a, `${a}-1`, 0), entry(b, `${b}-1`, 0)];
    const first = await log.append("toy", unit);
    assert.is(first.seqs[1], first.seqs[0]! + 1);
    assert.equal((await log.append("toy", unit)).seqs, first.seqs);
    const c = newId();
    assert.instance(await fails(log.append("toy", [entry(c, `${c}-1`, 0), entry(b, `${b}-2`, 0)])), AppendConflict);
    assert.is(await log.lastMessage(STREAM, aggregateSubject("toy", "counter", c)), null);
  });

  test("in a group, one that conflicts does not harm the others", async () => {
    const taken = newId();
    await log.append("toy", [entry(taken, `${taken}-1`, 0)]);
    const ids = Array.from({ length: 60 }, newId);
    const tries = await Promise.allSettled(
      ids.flatMap((id, i) => [
        log.append("toy", [entry(id, `${id}-1`, 0)]),
        ...(i % 20 === 3 ? [log.append("toy", [entry(taken, `${taken}-x${i}`, 0)])] : []),
      ]),
    );
    assert.is(tries.filter((t) => t.status === "rejected").length, 3);
    const seqs = tries.flatMap((t) => (t.status === "fulfilled" ? t.value.seqs : []));
    assert.is(new Set(seqs).size, 60);
  });

  test("the sequences that a group answers are those of its messages", async () => {
    const ids = Array.from({ length: 100 }, newId);
    const answers = await Promise.all(ids.map((id) => log.append("toy", [entry(id, `${id}-1`, 0)])));
    for (const [i, id] of ids.entries()) {
      const stored = await log.lastMessage(STREAM, aggregateSubject("toy", "counter", id));
      assert.is(stored?.seq, answers[i]!.seqs[0]);
    }
  });

  test("a commit that is too large is refused at once, with a reason", async () => {
    const id = newId();
    const error = await fails(log.append("toy", [entry(id, `${id}-1`, 0, "x".repeat(1_020_000))]));
    assert.instance(error, CommitRefused);
  });

  test(
    "batches that others left open make it wait, not fail",
    async () => {
      for (let i = 0; i < 50; i++) {
        const h = headers();
        h.set("Nats-Batch-Id", `left-${process.pid}-${i}`);
        h.set("Nats-Batch-Sequence", "1");
        log.nats.nc.publish(aggregateSubject("toy", "counter", newId()), "{}", { headers: h });
      }
      await log.nats.nc.flush();
      const [a, b] = [newId(), newId()];
      await log.append("toy", [entry(a, `${a}-1`, 0), entry(b, `${b}-1`, 0)]);
      assert.ok(await log.lastMessage(STREAM, aggregateSubject("toy", "counter", b)));
    },
    { timeoutMs: 40_000 },
  );

  test("nothing can be deleted from the log or purged", async () => {
    const id = newId();
    const { seqs } = await log.append("toy", [entry(id, `${id}-1`, 0)]);
    assert.match(String(await fails(log.nats.jsm.streams.deleteMessage(STREAM, seqs[0]!))), /not permitted|delete/i);
    assert.match(String(await fails(log.nats.jsm.streams.purge(STREAM))), /not permitted|purge/i);
  });

  test("an aggregate of which nothing has happened loads as its initial state", async () => {
    const loaded = await log.aggregates.load(counter, newId());
    assert.is(loaded.seq, 0);
    assert.is(loaded.state.total, 0);
  });

  test("loads are exact for one commit, for thousands, and as of a version in the middle of a commit", async () => {
    const id = newId();
    await start(id);
    const commits = 23;
    for (let i = 0; i < commits; i++) {
      await execute(log, { kind: counter, id, command: { do: "add", by: [1, 1] } }, asCommand(`${id}-${i}`));
    }
    other.aggregates.forget(counter, id);
    const loaded = await other.aggregates.load(counter, id);
    assert.is(loaded.state.total, commits * 2);
    assert.is(loaded.version, 1 + commits * 2);
    assert.is((await log.aggregates.loadUntil(counter, id, { version: 4 })).state.total, 3);
    assert.is((await log.aggregates.loadUntil(counter, id, { version: 0 })).state.total, 0);
  });

  test("a long aggregate is paged through without a gap", async () => {
    const id = newId();
    await start(id);
    const js = jetstream(log.nats.nc);
    const [first] = await Array.fromAsync(readCommits(log.nats, counter, id));
    const body = (i: number) =>
      JSON.stringify({ ...plain(first!), id: `${id}-${i}`, command: `${id}-${i}`, version: i + 2, events: [{ type: "CounterAdded", v: 2, data: { by: 1 } }] });
    for (let i = 0; i < 2_500; i += 250) {
      await Promise.all(Array.from({ length: 250 }, (_, k) => js.publish(aggregateSubject("toy", "counter", id), body(i + k))));
    }
    other.aggregates.forget(counter, id);
    assert.is((await other.aggregates.load(counter, id)).state.total, 2_500);
    assert.is(await count(id), 2_501);
    // Written by now, or not yet: either way a third reader sees the same.
    log.aggregates.forget(counter, id);
    assert.is((await log.aggregates.load(counter, id)).state.total, 2_500);
  });

  test("an aggregate as of a time is what the log held then", async () => {
    const id = newId();
    await start(id);
    await execute(log, { kind: counter, id, command: { do: "add", by: [5] } }, asCommand(`${id}-1`));
    const commits = await Array.fromAsync(readCommits(log.nats, counter, id));
    const then = commits[1]!.time;
    await new Promise((resolve) => setTimeout(resolve, 5));
    await execute(log, { kind: counter, id, command: { do: "add", by: [7] } }, asCommand(`${id}-2`));
    assert.is((await log.aggregates.loadUntil(counter, id, { time: then })).state.total, 5);
    assert.is((await log.aggregates.loadUntil(counter, id, { time: commits[0]!.time - 1 })).state.name, "");
  });

  test("two processes that add at once lose nothing: each command counts once", async () => {
    const id = newId();
    await start(id);
    await Promise.all(
      Array.from({ length: 40 }, (_, i) =>
        retried(() => execute(i % 2 ? log : other, { kind: counter, id, command: { do: "add", by: [1] } }, asCommand(`${id}-${i}`))),
      ),
    );
    assert.is((await log.aggregates.load(counter, id)).state.total, 40);
    assert.is(await count(id), 41);
  });

  test("a rule that depends on the state holds under concurrency", async () => {
    const id = newId();
    await start(id);
    const outcomes = await Promise.all(
      Array.from({ length: 30 }, (_, i) =>
        retried(() => execute(i % 2 ? log : other, { kind: counter, id, command: { do: "add", by: [1], below: 10 } }, asCommand(`${id}-${i}`))),
      ),
    );
    assert.is(outcomes.filter((o) => "ok" in o).length, 10);
    assert.is((await log.aggregates.load(counter, id)).state.total, 10);
  });

  test("a refusal is decided on the present, not on what this process remembers", async () => {
    const id = newId();
    await start(id);
    await execute(log, { kind: counter, id, command: { do: "add", by: [10] } }, asCommand(`${id}-1`));
    await log.aggregates.load(counter, id);
    await execute(other, { kind: counter, id, command: { do: "add", by: [-10] } }, asCommand(`${id}-2`));
    const outcome = await execute(log, { kind: counter, id, command: { do: "add", by: [1], below: 10 } }, asCommand(`${id}-3`));
    assert.ok("ok" in outcome);
  });

  test("a command repeated answers as it did the first time; with another input it is refused", async () => {
    const id = newId();
    await start(id);
    const add = { kind: counter, id, command: { do: "add", by: [3] } } as const;
    const first = await execute(log, add, asCommand(`${id}-add`));
    await execute(log, add, asCommand(`${id}-other`));
    for (const from of [log, other]) {
      const again = await execute(from, add, asCommand(`${id}-add`));
      assert.ok("ok" in again && "ok" in first);
      assert.is(again.ok.repeated, true);
      assert.is((again.ok.loaded.state as Counter).total, 3);
      assert.is(again.ok.seq, first.ok.seq);
    }
    const changed = await execute(other, add, asCommand(`${id}-add`, { digest: "another" }));
    assert.ok("refusal" in changed && changed.refusal.refused === "rule");
    assert.is(await count(id), 3);
  });

  test("the same command from two processes at once is carried out once", async () => {
    for (let round = 0; round < 10; round++) {
      const id = newId();
      await start(id);
      const add = { kind: counter, id, command: { do: "add", by: [3] } } as const;
      const both = await Promise.all([log, other, log, other].map((l) => execute(l, add, asCommand(`${id}-add`))));
      assert.ok(both.every((o) => "ok" in o));
      assert.is((await log.aggregates.load(counter, id)).state.total, 3);
    }
  });

  test("a unique value has one holder under a race, is free again when given up, and nothing is left half done", async () => {
    const name = `n-${newId()}`;
    const ids = Array.from({ length: 12 }, newId);
    const outcomes = await Promise.all(
      ids.map((id, i) => execute(i % 2 ? log : other, { kind: counter, id, command: { do: "start", name } }, asCommand(`start-${id}`))),
    );
    assert.is(outcomes.filter((o) => "ok" in o).length, 1);
    const winner = ids[outcomes.findIndex((o) => "ok" in o)]!;
    assert.is((await readClaim(log, "toy", { what: "counter-name", value: `org_a/${name}` })).holder, winner);
    for (const id of ids) assert.is((await log.aggregates.load(counter, id)).seq > 0, id === winner);
    await execute(log, { kind: counter, id: winner, command: { do: "rename", name: `${name}-2` } }, asCommand(`${winner}-r`));
    const again = await execute(log, { kind: counter, id: newId(), command: { do: "start", name } }, asCommand(`again-${name}`));
    assert.ok("ok" in again);
  });

  test("another organisation's aggregate is not found", async () => {
    const id = newId();
    await start(id);
    const outcome = await execute(log, { kind: counter, id, command: { do: "add", by: [1] } }, asCommand(`${id}-x`, { organisation: "org_b" }));
    assert.ok("refusal" in outcome && outcome.refusal.refused === "not-found");
  });

  test("events of an older version are read through their upcasts; one of a newer version stops the reader", async () => {
    const id = newId();
    await start(id);
    const [first] = await Array.fromAsync(readCommits(log.nats, counter, id));
    const js = jetstream(log.nats.nc);
    const put = (v: number, data: unknown) =>
      js.publish(aggregateSubject("toy", "counter", id), JSON.stringify({ ...plain(first!), id: `${id}-v${v}`, command: `${id}-v${v}`, events: [{ type: "CounterAdded", v, data }] }));
    await put(1, { amount: 4 });
    other.aggregates.forget(counter, id);
    assert.is((await other.aggregates.load(counter, id)).state.total, 4);
    await put(3, { by: 1, unit: "litre" });
    assert.instance(await fails(log.aggregates.load(counter, id)), UnknownEvent);
  });

  test("one reader behind many writers sees every sequence once, in order", async () => {
    const from = (await log.head("toy")) + 1;
    const seen: number[] = [];
    const stop = new AbortController();
    const reading = follow(log.nats, {
      context: "toy",
      fromSeq: from,
      most: 200,
      signal: stop.signal,
      onBatch: ({ commits }) => {
        for (const commit of commits) seen.push(commit.seq);
      },
    });
    const appender = new Appender(log.nats, STREAM);
    const writers = Array.from({ length: 16 }, async (_, w) => {
      for (let i = 0; i < 40; i++) {
        const id = newId();
        await (w % 2 ? log.append("toy", [entry(id, `${id}-1`, 0)]) : appender.append([entry(id, `${id}-1`, 0)]));
      }
    });
    await Promise.all(writers);
    const head = await log.head("toy");
    const deadline = Date.now() + 20_000;
    while (seen[seen.length - 1] !== head && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 20));
    stop.abort();
    await reading;
    assert.is(seen.length, 640);
    assert.equal(seen, Array.from({ length: 640 }, (_, i) => from + i));
  });
}

/** A caller's own patience beyond the tries of `execute`: forty at once on one aggregate is more than it was made for. */
async function retried<T>(attempt: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof AppendConflict)) throw error;
    }
  }
}

const plain = ({ context: _c, kind: _k, aggregate: _a, subject: _s, seq: _q, time: _t, ...commit }: StoredCommit) => commit;
