/** What loads, commands, claims and followers promise. */
import { jetstream } from "@nats-io/jetstream";
import * as assert from "uvu/assert";
import { type Counter, counter } from "../tests/harness/counter.ts";
import type { Suite } from "../tests/harness/suite.ts";
import { readCommits } from "./aggregate.ts";
import { Appender } from "./append.ts";
import type { StoredCommit } from "./commit.ts";
import type { TwoLogs } from "./conformance.ts";
import { asCommand, entry, fails, newId, STREAM } from "./conformance-append.ts";
import { execute, readClaim } from "./execute.ts";
import { AppendConflict, UnknownEvent } from "./failures.ts";
import { follow } from "./follow.ts";
import { aggregateSubject } from "./subjects.ts";

export function aggregatePromises(test: Suite, logs: TwoLogs): void {
  const count = async (id: string) => (await Array.fromAsync(readCommits(logs.log.nats, counter, id))).length;
  const start = (id: string) =>
    execute(logs.log, { kind: counter, id, command: { do: "start", name: id } }, asCommand(`start-${id}`));

  test("an aggregate of which nothing has happened loads as its initial state", async () => {
    const { log } = logs;
    const loaded = await log.aggregates.load(counter, newId());
    assert.is(loaded.seq, 0);
    assert.is(loaded.state.total, 0);
  });

  test("loads are exact for one commit, for thousands, and as of a version in the middle of a commit", async () => {
    const { log, other } = logs;
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
    const { log, other } = logs;
    const id = newId();
    await start(id);
    const js = jetstream(log.nats.nc);
    const [first] = await Array.fromAsync(readCommits(log.nats, counter, id));
    const body = (i: number) =>
      JSON.stringify({
        ...plain(first!),
        id: `${id}-${i}`,
        command: `${id}-${i}`,
        version: i + 2,
        events: [{ type: "CounterAdded", v: 2, data: { by: 1 } }],
      });
    for (let i = 0; i < 2_500; i += 250) {
      await Promise.all(
        Array.from({ length: 250 }, (_, k) => js.publish(aggregateSubject("toy", "counter", id), body(i + k))),
      );
    }
    other.aggregates.forget(counter, id);
    assert.is((await other.aggregates.load(counter, id)).state.total, 2_500);
    assert.is(await count(id), 2_501);
    // Written by now, or not yet: either way a third reader sees the same.
    log.aggregates.forget(counter, id);
    assert.is((await log.aggregates.load(counter, id)).state.total, 2_500);
  });

  test("an aggregate as of a time is what the log held then", async () => {
    const { log } = logs;
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
    const { log, other } = logs;
    const id = newId();
    await start(id);
    await Promise.all(
      Array.from({ length: 40 }, (_, i) =>
        retried(() =>
          execute(i % 2 ? log : other, { kind: counter, id, command: { do: "add", by: [1] } }, asCommand(`${id}-${i}`)),
        ),
      ),
    );
    assert.is((await log.aggregates.load(counter, id)).state.total, 40);
    assert.is(await count(id), 41);
  });

  test("a rule that depends on the state holds under concurrency", async () => {
    const { log, other } = logs;
    const id = newId();
    await start(id);
    const outcomes = await Promise.all(
      Array.from({ length: 30 }, (_, i) =>
        retried(() =>
          execute(
            i % 2 ? log : other,
            { kind: counter, id, command: { do: "add", by: [1], below: 10 } },
            asCommand(`${id}-${i}`),
          ),
        ),
      ),
    );
    assert.is(outcomes.filter((o) => "ok" in o).length, 10);
    assert.is((await log.aggregates.load(counter, id)).state.total, 10);
  });

  test("a refusal is decided on the present, not on what this process remembers", async () => {
    const { log, other } = logs;
    const id = newId();
    await start(id);
    await execute(log, { kind: counter, id, command: { do: "add", by: [10] } }, asCommand(`${id}-1`));
    await log.aggregates.load(counter, id);
    await execute(other, { kind: counter, id, command: { do: "add", by: [-10] } }, asCommand(`${id}-2`));
    const outcome = await execute(
      log,
      { kind: counter, id, command: { do: "add", by: [1], below: 10 } },
      asCommand(`${id}-3`),
    );
    assert.ok("ok" in outcome);
  });

  test("a command repeated answers as it did the first time; with another input it is refused", async () => {
    const { log, other } = logs;
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
    const { log, other } = logs;
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
    const { log, other } = logs;
    const name = `n-${newId()}`;
    const ids = Array.from({ length: 12 }, newId);
    const outcomes = await Promise.all(
      ids.map((id, i) =>
        execute(i % 2 ? log : other, { kind: counter, id, command: { do: "start", name } }, asCommand(`start-${id}`)),
      ),
    );
    assert.is(outcomes.filter((o) => "ok" in o).length, 1);
    const winner = ids[outcomes.findIndex((o) => "ok" in o)]!;
    assert.is((await readClaim(log, "toy", { what: "counter-name", value: `org_a/${name}` })).holder, winner);
    for (const id of ids) assert.is((await log.aggregates.load(counter, id)).seq > 0, id === winner);
    await execute(
      log,
      { kind: counter, id: winner, command: { do: "rename", name: `${name}-2` } },
      asCommand(`${winner}-r`),
    );
    const again = await execute(
      log,
      { kind: counter, id: newId(), command: { do: "start", name } },
      asCommand(`again-${name}`),
    );
    assert.ok("ok" in again);
  });

  test("another organisation's aggregate is not found", async () => {
    const { log } = logs;
    const id = newId();
    await start(id);
    const outcome = await execute(
      log,
      { kind: counter, id, command: { do: "add", by: [1] } },
      asCommand(`${id}-x`, { organisation: "org_b" }),
    );
    assert.ok("refusal" in outcome && outcome.refusal.refused === "not-found");
  });

  test("events of an older version are read through their upcasts; one of a newer version stops the reader", async () => {
    const { log, other } = logs;
    const id = newId();
    await start(id);
    const [first] = await Array.fromAsync(readCommits(log.nats, counter, id));
    const js = jetstream(log.nats.nc);
    const put = (v: number, data: unknown) =>
      js.publish(
        aggregateSubject("toy", "counter", id),
        JSON.stringify({
          ...plain(first!),
          id: `${id}-v${v}`,
          command: `${id}-v${v}`,
          events: [{ type: "CounterAdded", v, data }],
        }),
      );
    await put(1, { amount: 4 });
    other.aggregates.forget(counter, id);
    assert.is((await other.aggregates.load(counter, id)).state.total, 4);
    await put(3, { by: 1, unit: "litre" });
    assert.instance(await fails(log.aggregates.load(counter, id)), UnknownEvent);
  });

  test("one reader behind many writers sees every sequence once, in order", async () => {
    const { log } = logs;
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
    while (seen[seen.length - 1] !== head && Date.now() < deadline)
      await new Promise((resolve) => setTimeout(resolve, 20));
    stop.abort();
    await reading;
    assert.is(seen.length, 640);
    assert.equal(
      seen,
      Array.from({ length: 640 }, (_, i) => from + i),
    );
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

const plain = ({ context: _c, kind: _k, aggregate: _a, subject: _s, seq: _q, time: _t, ...commit }: StoredCommit) =>
  commit;
