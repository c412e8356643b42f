/** What an append says and does when the server freezes, dies, or is away: acknowledged means stored, once. */
import * as assert from "uvu/assert";
import { counter } from "../tests/harness/counter.ts";
import { startOwnNats } from "../tests/harness/servers.ts";
import { suite } from "../tests/harness/suite.ts";
import { asCommand, entry, newId } from "./conformance-append.ts";
import { EventLog, type LogSettings } from "./eventlog.ts";
import { execute } from "./execute.ts";
import { LogUnavailable } from "./failures.ts";
import { aggregateSubject, logStream } from "./subjects.ts";

const test = suite("the log while its server is in trouble");

async function opened(defer: (f: () => unknown) => void, append: LogSettings["append"] = {}) {
  const server = await startOwnNats();
  defer(() => server.kill());
  const { url, user, password } = server;
  const log = await EventLog.open({ url, user, password, name: "outage", append }, ["toy"]);
  defer(() => log.close());
  return { server, log };
}

const seqOf = async (log: EventLog, id: string) =>
  (await log.lastMessage(logStream("toy"), aggregateSubject("toy", "counter", id)))?.seq;

test("a server frozen for longer than the time-out: every append is answered in the end, each stored once", async ({
  defer,
}) => {
  const { server, log } = await opened(defer, { timeoutMs: 500 });
  const ids = Array.from({ length: 80 }, newId);
  process.kill(server.pid, "SIGSTOP");
  const appends = Promise.all(ids.map((id) => log.append("toy", [entry(id, `${id}-1`, 0)])));
  await new Promise((resolve) => setTimeout(resolve, 2_000));
  process.kill(server.pid, "SIGCONT");
  const answers = await appends;
  assert.is(await log.head("toy"), 80, "nothing twice");
  for (const [i, id] of ids.entries()) assert.is(await seqOf(log, id), answers[i]!.seqs[0]);
});

test("a server away for longer than the deadline: a typed failure that says whether it may have been stored", async ({
  defer,
}) => {
  const { server, log } = await opened(defer, { timeoutMs: 300, deadlineMs: 1_000 });
  const id = newId();
  await execute(log, { kind: counter, id, command: { do: "start", name: id } }, asCommand(`${id}-0`));
  await server.kill();
  const error = await execute(log, { kind: counter, id, command: { do: "add", by: [1] } }, asCommand(`${id}-1`)).catch(
    (e) => e,
  );
  assert.instance(error, LogUnavailable);
  await server.restart();
  const deadline = Date.now() + 20_000;
  for (;;) {
    const again = await execute(
      log,
      { kind: counter, id, command: { do: "add", by: [1] } },
      asCommand(`${id}-1`),
    ).catch(() => undefined);
    if (again !== undefined) break;
    assert.ok(Date.now() < deadline, "it comes back by itself");
  }
  assert.is((await log.aggregates.load(counter, id)).state.total, 1, "the same command, carried out once");
});

test("the server killed again and again under load: no acknowledged commit is lost and none is there twice", {
  timeoutMs: 120_000,
}, async ({ defer }) => {
  const { server, log } = await opened(defer, { timeoutMs: 1_000, deadlineMs: 30_000 });
  const ids = Array.from({ length: 24 }, newId);
  for (const id of ids)
    await execute(log, { kind: counter, id, command: { do: "start", name: id } }, asCommand(`${id}-0`));
  let running = true;
  const done = new Map<string, number>();
  const writers = ids.map(async (id) => {
    for (let n = 1; running; n++) {
      const outcome = await execute(
        log,
        { kind: counter, id, command: { do: "add", by: [1] } },
        asCommand(`${id}-${n}`),
      );
      assert.ok("ok" in outcome);
      done.set(id, n);
    }
  });
  let current = server;
  for (let kills = 0; kills < 4; kills++) {
    await new Promise((resolve) => setTimeout(resolve, 600 + Math.random() * 600));
    await current.kill();
    current = await current.restart();
  }
  running = false;
  await Promise.all(writers);
  log.aggregates.clear();
  for (const id of ids) {
    const loaded = await log.aggregates.load(counter, id);
    assert.is(loaded.state.total, done.get(id), "every acknowledged command once, and no other");
  }
  assert.ok([...done.values()].reduce((a, b) => a + b) > 50, "there was load");
});

test.run();
