/** Log lines on a real server: written, read, followed, resumed, overtaken, limited, dropped. */
import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { startOwnNats, testFolder, testNats } from "../tests/harness/servers.ts";
import { suite } from "../tests/harness/suite.ts";
import { connectNats, type Nats } from "./connection.ts";
import {
  type LogLine,
  type LogNews,
  LogOvertaken,
  type LogQuery,
  LogQueryRefused,
  type Logs,
  openLogs,
} from "./logs.ts";

const test = suite("logs");

const organisation = "org_a";
let nats: Nats;
let logs: Logs;
let made = 0;

const entity = (id = `app_${++made}`) => ({ organisation, context: "applications", kind: "application", id });

const settings = async (name: string) => {
  const { url, user, pass } = await testNats();
  return { url, user, password: pass, name };
};

test.before(async () => {
  nats = await connectNats(await settings("logs"));
  logs = await openLogs(nats);
});
test.after(() => nats.close());

const texts = (lines: ReadonlyArray<LogLine>): string[] => lines.map(({ text }) => text);

/** All pages of a query. */
async function all(query: Omit<LogQuery, "limit"> & { limit?: number }): Promise<LogLine[]> {
  const found: LogLine[] = [];
  let after: string | undefined;
  for (let pages = 0; pages < 10_000; pages++) {
    const page = await logs.read({ limit: 1_000, ...query, ...(after === undefined ? {} : { after }) });
    found.push(...page.lines);
    after = page.next;
    if (after === undefined) return found;
  }
  throw new Error("pages without end");
}

test("what is written is read: newest and oldest first, by time, level, text, pattern and source", async () => {
  const app = entity();
  const t0 = Date.now() - 100_000;
  const build = await logs.writer({ ...app, source: "build", group: "dep_1" });
  const run = await logs.writer({ ...app, source: "run", group: "dep_1", instance: "0" });
  const other = await logs.writer({ ...app, source: "run", group: "dep_2", instance: "1" });
  for (let i = 0; i < 300; i++) {
    void build.line({ time: t0 + i * 100, text: `step ${i}` });
    if (i % 2 === 0) await build.flush();
    void run.line({
      time: t0 + 30_000 + i * 100,
      text: i % 10 === 0 ? `ERROR at ${i}` : `INFO at ${i}`,
      stderr: i % 10 === 0,
    });
    void other.line({ time: t0 + 30_050 + i * 100, text: `other ${i}` });
    if (i % 7 === 0) await Promise.all([run.flush(), other.flush()]);
  }
  assert.equal(await Promise.all([build.close(), run.close(), other.close()]), [0, 0, 0]);

  const oldest = await all({ of: [app], order: "oldest", limit: 77 });
  assert.is(oldest.length, 900);
  assert.ok(oldest.every((line, i) => i === 0 || line.time >= oldest[i - 1]!.time));
  assert.equal(texts(await all({ of: [app], order: "newest", limit: 41 })), texts(oldest).reverse());
  assert.equal(texts((await logs.read({ of: [app], order: "newest", limit: 2 })).lines), ["other 299", "INFO at 299"]);

  const range = { since: t0 + 29_000, until: t0 + 31_000 };
  const within = oldest.filter(({ time }) => time >= range.since && time < range.until);
  assert.is(within.length, 10 + 10 + 10);
  assert.equal(await all({ of: [app], order: "oldest", ...range }), within);
  assert.equal(await all({ of: [app], order: "newest", limit: 7, ...range }), [...within].reverse());

  const found = async (query: object) => texts(await all({ of: [app], order: "oldest", ...query }));
  assert.is((await found({ level: "warn" })).length, 30);
  assert.equal(await found({ q: "error at 29" }), ["ERROR at 290"]);
  assert.equal(await found({ regex: "^other 29[0-2]$" }), ["other 290", "other 291", "other 292"]);
  assert.is((await found({ of: [{ ...app, source: "run" }] })).length, 600);
  assert.is((await found({ of: [{ ...app, group: "dep_1" }] })).length, 600);
  assert.is((await found({ of: [{ ...app, instance: "1" }] })).length, 300);
  assert.is((await found({ of: [entity()] })).length, 0);
  const { from, stderr, level, position } = (await all({ of: [app], order: "oldest", q: "ERROR at 0" }))[0]!;
  assert.equal([from, stderr, level], [{ ...app, source: "run", group: "dep_1", instance: "0" }, true, "error"]);
  assert.match(position, /^\d+\.\d+$/);
  assert.equal(await found({ of: [{ ...app, organisation: "org_b" }] }), []);
});

test("lines that arrive long after their time are found at their time", async () => {
  const app = entity();
  const t0 = Date.now() - 3_600_000;
  const prompt = await logs.writer({ ...app, source: "run", instance: "0" });
  for (let i = 0; i < 50; i++) await prompt.line({ time: t0 + i * 60_000, text: `a${i}` });
  await prompt.close();
  const late = await logs.writer({ ...app, source: "run", instance: "1" });
  for (let i = 0; i < 50; i++) {
    await late.line({ time: t0 + 30_000 + i * 60_000, text: `b${i}` });
    await late.flush();
  }
  await late.close();
  const expected = Array.from({ length: 50 }, (_, i) => [`a${i}`, `b${i}`]).flat();
  assert.equal(texts(await all({ of: [app], order: "oldest", limit: 7 })), expected);
  assert.equal(texts(await all({ of: [app], order: "newest", limit: 7 })), expected.toReversed());
  const until = t0 + 10 * 60_000;
  assert.equal(texts((await logs.read({ of: [app], order: "newest", until, limit: 3 })).lines), ["b9", "a9", "b8"]);
});

test("secrets do not reach the stream, also when they come in two pieces", async () => {
  const app = entity();
  const writer = await logs.writer({ ...app, source: "run" }, { redact: ["correct horse battery"] });
  await writer.bytes(Buffer.from("password: correct hor"));
  await writer.flush();
  await writer.bytes(Buffer.from("se battery!\nünd"));
  writer.redact(["second-secret"]);
  await writer.line({ text: "then second-secret" });
  await writer.close();
  const lines = texts(await all({ of: [app], order: "oldest" }));
  assert.equal(lines, ["password: [redacted]!", "then [redacted]", "ünd"]);
});

test("a long line is cut, a line with line ends is several, colours can be left out", async () => {
  const app = entity();
  const writer = await logs.writer({ ...app, source: "run" }, { ansi: "strip" });
  await writer.line({ text: `\u001b[31m${"x".repeat(20_000)}` });
  await writer.line({ text: "\u001b[1mone\u001b[0m\r\ntwo" });
  await writer.close();
  const [long, ...rest] = await all({ of: [app], order: "oldest" });
  assert.ok(long!.cut && long!.text.length < 16_500 && long!.text.startsWith("xxx"));
  assert.equal(texts(rest), ["one", "two"]);
});

/** News of a tail until a condition holds. */
async function news(tail: AsyncGenerator<LogNews>, until: (all: LogNews[]) => boolean): Promise<LogNews[]> {
  const told: LogNews[] = [];
  for await (const one of tail) {
    told.push(one);
    if (until(told)) return told;
  }
  return told;
}

const linesIn = (told: ReadonlyArray<LogNews>): LogLine[] =>
  told.flatMap((one) => (one.type === "lines" ? one.lines : []));

test("a tail tells what comes, begins where it is asked to, and goes on from a position without hole or double", async ({
  signal,
}) => {
  const app = entity();
  const writer = await logs.writer({ ...app, source: "run" }, { lingerMs: 5 });
  for (let i = 0; i < 100; i++) await writer.line({ text: `n${i}` });
  await writer.flush();
  const of = [app];
  const live = news(logs.tail({ of, signal }), (told) => linesIn(told).length >= 50);
  const lately = news(logs.tail({ of, signal, last: 3 }), (told) => linesIn(told).length >= 53);
  await new Promise((resolve) => setTimeout(resolve, 300));
  for (let i = 100; i < 150; i++) {
    await writer.line({ text: `n${i}` });
    if (i % 9 === 0) await writer.flush();
  }
  await writer.flush();
  const names = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => `n${from + i}`);
  assert.equal(texts(linesIn(await live)), names(100, 150));
  assert.equal(texts(linesIn(await lately)), names(97, 150));
  const everything = await all({ of, order: "oldest" });
  for (const at of [0, 1, 50, 99, 100, 148]) {
    const told = await news(
      logs.tail({ of, signal, after: everything[at]!.position }),
      (some) => linesIn(some).length >= 149 - at,
    );
    assert.equal(texts(linesIn(told)), names(at + 1, 150), `after ${at}`);
    assert.not.ok(told.some(({ type }) => type === "gap"));
  }
  const quiet = await news(
    logs.tail({ of, signal, after: everything[149]!.position }),
    (some) => some.at(-1)!.type === "caught-up",
  );
  assert.equal(linesIn(quiet), []);
  await writer.close();
});

test("of two collectors of one source one is overtaken", async () => {
  const app = entity();
  const first = await logs.writer({ ...app, source: "run" });
  await first.line({ text: "one", cursor: "c1" });
  await first.flush();
  const second = await logs.writer({ ...app, source: "run" });
  assert.is(second.cursor, "c1");
  await second.line({ text: "two", cursor: "c2" });
  await second.flush();
  await first.line({ text: "stale" });
  const failure = await first.flush().catch((error: unknown) => error);
  assert.instance(failure, LogOvertaken);
  assert.throws(
    () => first.line({ text: "more" }),
    (error: unknown) => error instanceof LogOvertaken,
  );
  await Promise.all([first.close(), second.close()]);
  assert.equal(texts(await all({ of: [app], order: "oldest" })), ["one", "two"]);
});

test("a collector that is killed, again and again, leaves neither gap nor double", { timeoutMs: 120_000 }, async ({
  defer,
}) => {
  const app = entity("app_killed");
  const lines = Array.from({ length: 6_000 }, (_, i) => `${10_000 + Math.floor(i / 3)} line ${i}`);
  const file = join(testFolder("collector"), "source.log");
  writeFileSync(file, `${lines.join("\n")}\n`);
  const { url, user, password } = await settings("x");
  const program = new URL("./fixtures/log-collector.ts", import.meta.url).pathname;
  let kills = 0;
  for (let ended = false; !ended; ) {
    const child = spawn(process.execPath, [program, file, url, user, password, app.id], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    defer(() => child.kill("SIGKILL"));
    let reports = 0;
    const enough = kills < 6 ? 20 + kills * 7 : Number.POSITIVE_INFINITY;
    child.stdout.on("data", (data: Buffer) => {
      reports += data.toString().split("\n").length - 1;
      if (data.includes("end\n")) ended = true;
      else if (reports >= enough) child.kill("SIGKILL");
    });
    await new Promise((resolve) => child.on("close", resolve));
    if (!ended) kills++;
    assert.ok(kills < 20);
  }
  assert.ok(kills >= 3, `${kills} kills`);
  assert.equal(texts(await all({ of: [app], order: "oldest" })), lines);
});

test("lines that find no room are dropped and counted, or waited for", async ({ defer }) => {
  const server = await startOwnNats();
  const own = await connectNats({ url: server.url, user: server.user, password: server.password, name: "own" });
  defer(() => own.close());
  const there = await openLogs(own);
  const app = entity();
  const dropping = await there.writer({ ...app, source: "drop" }, { full: "drop", pendingBytes: 64_000 });
  const waiting = await there.writer({ ...app, source: "wait" }, { pendingBytes: 64_000 });
  await server.kill();
  const text = "y".repeat(936);
  for (let i = 0; i < 200; i++) assert.is(dropping.line({ text }), undefined);
  let lines = 1;
  let waited = waiting.line({ text });
  for (; waited === undefined && lines < 200; lines++) waited = waiting.line({ text });
  assert.instance(waited, Promise);
  await server.restart();
  await waited;
  await Promise.all([dropping.flush(), waiting.flush()]);
  const read = async (source: string) =>
    (await there.read({ of: [{ ...app, source }], order: "oldest", limit: 1_000 })).lines;
  const dropped = await read("drop");
  const gap = dropped.find((line) => line.gap)!;
  const missing = Number(/^\[(\d+) lines missing/.exec(gap.text)![1]);
  assert.is(missing + dropped.filter((line) => !line.gap).length, 200);
  assert.ok(missing > 100);
  assert.is((await read("wait")).length, lines);
  await Promise.all([dropping.close(), waiting.close()]);
});

test("what the limits drop is told to who comes back, and is no trouble for the writer", async ({ signal, defer }) => {
  const server = await startOwnNats();
  const own = await connectNats({ url: server.url, user: server.user, password: server.password, name: "own" });
  defer(() => own.close());
  const there = await openLogs(own, { maxBytes: 400_000 });
  const app = entity();
  const writer = await there.writer({ ...app, source: "run" });
  const noise = await there.writer({ ...entity(), source: "run" });
  await writer.line({ text: "first" });
  await writer.flush();
  const { position } = (await there.read({ of: [app], order: "oldest", limit: 1 })).lines[0]!;
  const fill = async (to: typeof writer) => {
    for (let i = 0; i < 40; i++) {
      await to.line({
        text: Buffer.from(crypto.getRandomValues(new Uint8Array(12_000)))
          .toString("base64")
          .slice(0, 16_000),
      });
      await to.flush();
    }
  };
  await writer.line({ text: "second" });
  await fill(writer);
  const told = await news(
    there.tail({ of: [app], signal, after: position }),
    (some) => some.at(-1)!.type === "caught-up",
  );
  assert.is(told[0]!.type, "gap");
  assert.ok(linesIn(told).length > 5 && linesIn(told).length < 40);
  await fill(noise);
  assert.equal((await there.read({ of: [app], order: "newest", limit: 10 })).lines, []);
  await writer.line({ text: "again" });
  await writer.flush();
  assert.equal(texts((await there.read({ of: [app], order: "newest", limit: 10 })).lines), ["again"]);
  await there.remove(app);
  assert.equal((await there.read({ of: [app], order: "newest", limit: 10 })).lines, []);
  await Promise.all([writer.close(), noise.close()]);
});

test("one noisy source keeps its share and pushes nobody else's lines out", async ({ signal, defer }) => {
  const server = await startOwnNats();
  const own = await connectNats({ url: server.url, user: server.user, password: server.password, name: "own" });
  defer(() => own.close());
  const shareBytes = 300_000;
  const there = await openLogs(own, { maxBytes: 1_000_000, shareBytes });
  const quiet = entity();
  const noisy = { ...entity(), source: "run" };
  const quietWriter = await there.writer({ ...quiet, source: "run" });
  await quietWriter.line({ text: "what matters" });
  await quietWriter.flush();
  const following = news(there.tail({ of: [noisy], signal, since: 1 }), (some) =>
    linesIn(some).some((line) => line.text === "line 299"),
  );
  const random = () => Buffer.from(crypto.getRandomValues(new Uint8Array(9_000))).toString("base64");
  // Over several collectors, each of which counts on where the one before it ended.
  for (let from = 0; from < 300; from += 100) {
    const writer = await there.writer(noisy);
    for (let i = from; i < from + 100; i++) {
      await writer.line({ text: `line ${i}` });
      await writer.line({ text: random() });
      await writer.flush();
    }
    assert.is(await writer.close(), 0);
  }
  const found = await there.read({ of: [noisy], order: "oldest", limit: 10_000 });
  const told = found.lines.filter((line) => line.gap);
  assert.ok(
    told.length > 0 && told.every(({ text }) => /no longer kept: it has its share/.test(text)),
    `${told.length}`,
  );
  const numbers = found.lines.flatMap(({ text }) => (text.startsWith("line ") ? [Number(text.slice(5))] : []));
  assert.equal(
    numbers,
    Array.from({ length: 300 - numbers[0]! }, (_, i) => numbers[0]! + i),
  );
  assert.ok(numbers.length > 15 && numbers.length < 60, `${numbers.length} of 300 chunks are kept`);
  const { state } = await own.jsm.streams.info("LOGS");
  assert.ok(state.bytes < shareBytes * 1.1, `${state.bytes} bytes`);
  assert.equal(texts((await there.read({ of: [quiet], order: "newest", limit: 10 })).lines), ["what matters"]);
  const seen = linesIn(await following).filter(({ text }) => text.startsWith("line "));
  assert.ok(seen.length > numbers.length);
  await quietWriter.close();
});

test("age and size are set on a stream that is there, as far as the disk has room", async ({ defer }) => {
  const server = await startOwnNats();
  const own = await connectNats({ url: server.url, user: server.user, password: server.password, name: "own" });
  defer(() => own.close());
  const limits = async () => {
    const { config } = await own.jsm.streams.info("LOGS");
    return [config.max_age / 1_000_000, config.max_bytes];
  };
  await openLogs(own, { maxBytes: 100_000_000 });
  const days = 86_400_000;
  assert.equal(await limits(), [30 * days, 100_000_000]);
  await openLogs(own, { maxAgeMs: 3 * days, maxBytes: 50_000_000 });
  assert.equal(await limits(), [3 * days, 50_000_000]);
  await openLogs(own);
  assert.equal(await limits(), [3 * days, 50_000_000]);
  await openLogs(own, { maxAgeMs: 4 * days, maxBytes: 100_000 * 1024 ** 3 });
  assert.equal(await limits(), [4 * days, 50_000_000]);
});

test("whoever searches or follows holds up nobody else: no turn of the event loop works for long", async ({
  signal,
}) => {
  const app = { ...entity(), source: "run" };
  const writer = await logs.writer(app);
  for (let i = 0; i < 20_000; i++) await writer.line({ text: `INFO request ${i} ${"a".repeat(80)}!` });
  await writer.close();
  let longest = 0;
  let turns = 0;
  const watched = async (work: () => Promise<unknown>) => {
    let isDone = false;
    const done = work().finally(() => {
      isDone = true;
    });
    // Work of this thread, not the time that others have the processor.
    for (let before = process.threadCpuUsage(); !isDone; turns++) {
      await new Promise((resolve) => setImmediate(resolve));
      const now = process.threadCpuUsage();
      longest = Math.max(longest, (now.user + now.system - before.user - before.system) / 1_000);
      before = now;
    }
    await done;
  };
  const search = async (match: object, limit: number) =>
    (await logs.read({ of: [app], order: "oldest", limit, deadlineMs: 60_000, ...match })).lines.length;
  const follow = () => news(logs.tail({ of: [app], signal, since: 1 }), (some) => some.at(-1)!.type === "caught-up");
  // Once to have everything compiled.
  await Promise.all([search({ regex: "(a+)+$" }, 10), search({}, 1_000), follow()]);
  await watched(async () => {
    const [none, few, many, told] = await Promise.all([
      search({ regex: "(a?){10}(a+)+$" }, 10),
      search({ q: "request 19999" }, 10),
      search({ level: "info" }, 1_000),
      follow(),
    ]);
    assert.equal([none, few, many, linesIn(told).length], [0, 1, 1_000, 20_000]);
  });
  assert.ok(longest < 40, `one turn took ${longest} ms of work, of ${turns}`);
  console.log(`longest turn ${longest.toFixed(1)} ms of work, ${turns} turns`);
});

test("a cursor, a pattern or a position that is none is refused in words", async () => {
  const of = [entity()];
  for (const query of [{ after: "bm9uZQ" }, { regex: "(" }, { limit: 0 }]) {
    const refusal = await logs.read({ of, order: "newest", limit: 5, ...query }).catch((error: unknown) => error);
    assert.instance(refusal, LogQueryRefused);
  }
});

test.run();
