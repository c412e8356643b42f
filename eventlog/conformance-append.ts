/** What an append promises. */
import { headers } from "@nats-io/transport-node";
import * as assert from "uvu/assert";
import type { Suite } from "../tests/harness/suite.ts";
import type { Entry } from "./append.ts";
import type { TwoLogs } from "./conformance.ts";
import type { CommandContext } from "./execute.ts";
import { AppendConflict, CommitRefused } from "./failures.ts";
import { aggregateSubject, logStream } from "./subjects.ts";

export const STREAM = logStream("toy");
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

export const fails = async (promise: Promise<unknown>): Promise<unknown> => {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error("it should have failed");
};

export function appendPromises(test: Suite, logs: TwoLogs): void {
  test("a commit with the right expectation is stored; one with a wrong expectation conflicts and leaves nothing", async () => {
    const { log } = logs;
    const id = newId();
    const { seqs, found } = await log.append("toy", [entry(id, `${id}-1`, 0)]);
    assert.is(found, false);
    assert.instance(await fails(log.append("toy", [entry(id, `${id}-2`, 0)])), AppendConflict);
    assert.instance(await fails(log.append("toy", [entry(id, `${id}-3`, seqs[0]! + 1_000)])), AppendConflict);
    await log.append("toy", [entry(id, `${id}-4`, seqs[0]!)]);
    assert.is((await log.lastMessage(STREAM, aggregateSubject("toy", "counter", id)))!.seq > seqs[0]!, true);
  });

  test("the same commit sent again is found, not stored twice, and answers with its first sequence", async () => {
    const { log } = logs;
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
    const { log, other } = logs;
    const id = newId();
    let expected = 0;
    for (let round = 0; round < 15; round++) {
      const tries = await Promise.allSettled(
        Array.from({ length: 20 }, (_, i) =>
          (i % 2 ? log : other).append("toy", [entry(id, `${id}-${round}-${i}`, expected)]),
        ),
      );
      const won = tries.filter((t) => t.status === "fulfilled");
      assert.is(won.length, 1, `round ${round}`);
      for (const t of tries) if (t.status === "rejected") assert.instance(t.reason, AppendConflict);
      expected = won[0]!.value.seqs[0]!;
    }
  });

  test("a unit of several aggregates is stored whole or not at all, and found whole when sent again", async () => {
    const { log } = logs;
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
    const { log } = logs;
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
    const { log } = logs;
    const ids = Array.from({ length: 100 }, newId);
    const answers = await Promise.all(ids.map((id) => log.append("toy", [entry(id, `${id}-1`, 0)])));
    for (const [i, id] of ids.entries()) {
      const stored = await log.lastMessage(STREAM, aggregateSubject("toy", "counter", id));
      assert.is(stored?.seq, answers[i]!.seqs[0]);
    }
  });

  test("a commit that is too large is refused at once, with a reason", async () => {
    const { log } = logs;
    const id = newId();
    const error = await fails(log.append("toy", [entry(id, `${id}-1`, 0, "x".repeat(1_020_000))]));
    assert.instance(error, CommitRefused);
  });

  test(
    "batches that others left open make it wait, not fail",
    async () => {
      const { log } = logs;
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
    const { log } = logs;
    const id = newId();
    const { seqs } = await log.append("toy", [entry(id, `${id}-1`, 0)]);
    assert.match(String(await fails(log.nats.jsm.streams.deleteMessage(STREAM, seqs[0]!))), /not permitted|delete/i);
    assert.match(String(await fails(log.nats.jsm.streams.purge(STREAM))), /not permitted|purge/i);
  });
}
