/** A live index: the same as folding the log, from its beginning, from a snapshot, and live. */
import * as assert from "uvu/assert";
import { type CounterCommand, counter } from "../tests/harness/counter.ts";
import { testNats } from "../tests/harness/servers.ts";
import { suite } from "../tests/harness/suite.ts";
import { EventLog } from "./eventlog.ts";
import { execute } from "./execute.ts";
import { type LiveIndexOptions, startLiveIndex } from "./live-index.ts";
import { shardOf } from "./subjects.ts";

const test = suite("live index");
let log: EventLog;
let commands = 0;
test.before(async () => {
  const { url, user, pass: password } = await testNats();
  log = await EventLog.open({ url, user, password, name: "index" }, ["toy"]);
});
test.after(() => log?.close());

async function write(id: string, command: CounterCommand): Promise<number> {
  const commandId = `cmd_${++commands}`;
  const outcome = await execute(
    log,
    { kind: counter, id, command },
    {
      organisation: "org_1",
      actor: { kind: "system", id: "t", name: "t" },
      commandId,
      digest: "",
      correlation: commandId,
      causation: commandId,
      now: new Date().toISOString(),
    },
  );
  assert.ok("ok" in outcome, JSON.stringify(outcome));
  return (outcome as { ok: { seq: number } }).ok.seq;
}

const options = (more: Partial<LiveIndexOptions> = {}): LiveIndexOptions => ({
  log,
  context: "toy",
  kinds: [counter],
  ...more,
});
const id = (n: number) => `cnt_${n}`;

test("an empty log is caught up with at once", async ({ defer }) => {
  const index = await startLiveIndex(options());
  defer(() => index.stop());
  await index.caughtUp();
  assert.is(index.status().entries, 0);
});

test("from a snapshot it is what a fresh fold is, and goes on live", async ({ defer }) => {
  for (let n = 0; n < 40; n++) await write(id(n), { do: "start", name: `c${n}` });
  for (let n = 0; n < 40; n += 2) await write(id(n), { do: "add", by: [n, 1] });
  const first = await startLiveIndex(options({ snapshot: "test" }));
  await first.caughtUp();
  assert.is(first.status().entries, 40);
  assert.is(first.status().from, 0);
  await first.stop();
  for (let n = 0; n < 40; n += 3) await write(id(n), { do: "add", by: [5] });
  const last = await write(id(99), { do: "start", name: "late" });

  const second = await startLiveIndex(options({ snapshot: "test" }));
  defer(() => second.stop());
  const fresh = await startLiveIndex(options());
  defer(() => fresh.stop());
  await Promise.all([second.caughtUp(), fresh.caughtUp()]);
  assert.ok(second.status().from > 0, "it began with the snapshot");
  const sorted = (index: typeof fresh) => [...index.all(counter)].sort((a, b) => (a.id < b.id ? -1 : 1));
  assert.equal(sorted(second), sorted(fresh));
  assert.is(second.seq, last);
  for (const entry of second.all(counter)) {
    const { state, seq, version } = await log.aggregates.load(counter, entry.id);
    assert.equal({ state: entry.state, seq: entry.seq, version: entry.version }, { state, seq, version });
  }

  const changes: string[] = [];
  second.onChange((kind, changed, entry) => changes.push(`${kind} ${changed} ${entry?.state.total}`));
  const seq = await write(id(1), { do: "add", by: [1, 2] });
  assert.ok(await second.reached(seq, 5_000));
  assert.equal(changes, ["counter cnt_1 3"]);
  assert.is(second.get(counter, id(1))?.state.total, 3);
  assert.not.ok(await second.reached(seq + 1, 50), "what has not happened is not reached");
});

test("what is not worth keeping is left out, and comes back when it changes", async ({ defer }) => {
  const keep = (_kind: string, state: { total: number }) => state.total < 100;
  const index = await startLiveIndex(options({ keep }));
  defer(() => index.stop());
  await index.caughtUp();
  const gone: (string | undefined)[] = [];
  index.onChange((_kind, changed, entry) => gone.push(entry === undefined ? changed : undefined));
  await index.reached(await write(id(3), { do: "add", by: [200] }), 5_000);
  assert.is(index.get(counter, id(3)), undefined);
  assert.equal(gone, [id(3)]);
  await index.reached(await write(id(3), { do: "add", by: [-190] }), 5_000);
  const { state, version } = await log.aggregates.load(counter, id(3));
  assert.equal(index.get(counter, id(3))?.state, state);
  assert.is(index.get(counter, id(3))?.version, version);
});

test("an event that this release does not know leaves out its aggregate alone, and no snapshot forgets it", async () => {
  const subject = `evt.toy.${shardOf("cnt_odd")}.counter.cnt_odd`;
  const commit = {
    organisation: "o",
    actor: {},
    at: "",
    version: 1,
    command: "c",
    events: [{ type: "CounterFlown", v: 9, data: {} }],
  };
  await log.nats.js.publish(subject, JSON.stringify(commit));
  const index = await startLiveIndex(options({ snapshot: "odd" }));
  await index.caughtUp();
  const { stopped, entries } = index.status();
  assert.equal(
    stopped.map(({ kind, id }) => `${kind} ${id}`),
    ["counter cnt_odd"],
  );
  assert.is(entries, 41);
  await index.stop();
  const again = await startLiveIndex(options({ snapshot: "odd" }));
  await again.caughtUp();
  assert.is(again.status().from, 0);
  assert.is(again.status().stopped.length, 1);
  await again.stop();
});

test.run();
