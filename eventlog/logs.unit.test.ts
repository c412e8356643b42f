/** Log lines as text: levels, secrets, lines from pieces, chunks there and back, what matches. */
import fc from "fast-check";
import { RE2JS } from "re2js";
import * as assert from "uvu/assert";
import { suite } from "../tests/harness/suite.ts";
import { LEVELS, LogQueryRefused, StampCursor } from "./logs.ts";
import { pack, readHead } from "./logs-chunk.ts";
import { finderOf } from "./logs-find.ts";
import { levelOf } from "./logs-level.ts";
import { CUT, GAP, hasLevel, Lines, levelOfMark, type PackedLine, STDERR } from "./logs-lines.ts";
import { literalsOf } from "./logs-literals.ts";
import { matcherOf } from "./logs-match.ts";
import { cutLine, LINE_MOST, LineSplitter, REDACTED, Redaction, withoutAnsi } from "./logs-text.ts";

const test = suite("log lines");

test("levels are found where loggers write them, and nowhere else", () => {
  const table: ReadonlyArray<[string, string | undefined]> = [
    ['{"level":"warn","msg":"x"}', "warn"],
    ['{"level":50,"msg":"pino"}', "error"],
    ['{"severity":"CRITICAL"}', "fatal"],
    ['{"lvl":"dbg"}', "debug"],
    ['{"msg":"he said \\"level\\":\\"error\\""}', undefined],
    ["time=1 level=error msg=x", "error"],
    ["2026-11-21 08:00:00 WARN  slow", "warn"],
    ["[error] 12#0: upstream", "error"],
    ["TypeError: x is not a function", "error"],
    ["error: could not build", "error"],
    ["there was no error in it", undefined],
    ["INFORMATION_SCHEMA", undefined],
    ["GET / 200", undefined],
    [withoutAnsi("\u001b[32mINFO\u001b[39m ready"), "info"],
  ];
  for (const [text, level] of table) assert.is(levelOf(text), level, text);
});

const lineArbitrary = fc.record({
  step: fc.integer({ min: 0, max: 100_000 }),
  level: fc.option(fc.constantFrom(...LEVELS), { nil: undefined }),
  text: fc.string({ unit: "grapheme", maxLength: 80 }).map((text) => text.replaceAll("\n", " ")),
  stderr: fc.boolean(),
  cut: fc.boolean(),
  gap: fc.boolean(),
});

test("a chunk has the lines that were packed into it", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(lineArbitrary, { minLength: 1, maxLength: 60 }), async (raw) => {
      let time = 1_700_000_000_000;
      const lines: PackedLine[] = raw.map(({ step, ...line }) => {
        time += step;
        return { ...line, time };
      });
      const { headers, data } = await pack(lines, { cursor: "c#1", writer: "w.1", before: [5, 3], storedBefore: 0 });
      const head = readHead(headers)!;
      assert.equal(
        [head.first, head.last, head.count, head.cursor, head.before],
        [lines[0]!.time, time, lines.length, "c#1", [5, 3]],
      );
      const back = await Lines.unpack(data, head.count);
      lines.forEach((line, i) => {
        assert.is(back.line(i), line.text);
        assert.is(back.line(i, true), line.text);
        const mark = back.mark(i);
        assert.equal(
          [back.time(i), levelOfMark(mark), (mark & STDERR) !== 0, (mark & CUT) !== 0, (mark & GAP) !== 0],
          [line.time, line.level ?? null, line.stderr, line.cut, line.gap],
        );
      });
      LEVELS.forEach((_, least) => {
        const some = lines.some((__, i) => back.atLeast(i, least));
        assert.is(hasLevel(head.levels, least), some);
      });
    }),
    { numRuns: 200 },
  );
});

test("lines are put together from pieces that are split anywhere", () => {
  const text = fc.string({ unit: "grapheme", maxLength: 200 });
  fc.assert(
    fc.property(text, fc.array(fc.integer({ min: 1, max: 7 }), { minLength: 1 }), (whole, sizes) => {
      const bytes = Buffer.from(whole);
      const splitter = new LineSplitter(LINE_MOST);
      const lines: string[] = [];
      for (let at = 0, i = 0; at < bytes.length; i++) {
        const size = sizes[i % sizes.length]!;
        splitter.push(bytes.subarray(at, at + size), (line) => lines.push(line));
        at += size;
      }
      splitter.end((line) => lines.push(line));
      const expected = bytes.toString().split("\n");
      if (expected.at(-1) === "") expected.pop();
      assert.equal(lines, expected);
    }),
    { numRuns: 500 },
  );
});

test("a line without end takes no more memory than its beginning", () => {
  const splitter = new LineSplitter(LINE_MOST);
  const lines: [string, number][] = [];
  const piece = Buffer.alloc(100_000, "x");
  for (let i = 0; i < 50; i++) {
    splitter.push(piece, () => assert.unreachable());
    assert.ok(splitter.waiting <= LINE_MOST);
  }
  splitter.push(Buffer.from("\n"), (text, left) => lines.push([text, left]));
  assert.equal([lines[0]![0].length, lines[0]![1]], [LINE_MOST, 5_000_000 - LINE_MOST]);
  const { text, cut } = cutLine(...lines[0]!);
  assert.ok(cut && text.endsWith(`[${5_000_000 - LINE_MOST} characters more]`));
});

test("secrets go out as they are, and as JSON, URLs and base 64 write them", () => {
  const redaction = new Redaction();
  const secret = 's3cr"t/ä+x';
  redaction.add([secret, "short", "-----BEGIN KEY-----\nMIIabcdef012345\n-----END KEY-----"]);
  const forms = [secret, JSON.stringify(secret), encodeURIComponent(secret), Buffer.from(secret).toString("base64")];
  for (const form of [...forms, "MIIabcdef012345"]) {
    const text = redaction.apply(`before ${form} after`);
    assert.ok(text.includes(REDACTED) && !text.includes(form), form);
  }
  assert.is(redaction.apply("a short word"), "a short word");
});

test("a secret over the place where a long line is cut goes out whole", () => {
  const redaction = new Redaction();
  redaction.add(["hunter2hunter2"]);
  const most = LINE_MOST + redaction.longest;
  for (let at = LINE_MOST - 14; at <= LINE_MOST; at++) {
    const line = `${"x".repeat(at)}hunter2hunter2${"y".repeat(100)}`.slice(0, most);
    assert.not.match(cutLine(redaction.apply(line), 0).text, /hunter/);
  }
});

const linesOf = async (...texts: string[]): Promise<Lines> => {
  const packed = texts.map((text) => ({
    time: 1,
    level: levelOf(text),
    text,
    stderr: false,
    cut: false,
    gap: false,
  }));
  const { data } = await pack(packed, { cursor: undefined, writer: "w.1", before: [], storedBefore: 0 });
  return Lines.unpack(data, texts.length);
};

test("text, level and pattern select lines, whatever their colours", async () => {
  const lines = await linesOf("INFO one", "\u001b[31mERR\u001b[0mOR two", "ÄRGER drei", "", "WARN Four one");
  const find = (match: object) => finderOf(match)(lines, 0, lines.count);
  assert.equal(find({ q: "one" }), [0, 4]);
  assert.equal(find({ q: "error two" }), [1]);
  assert.equal(find({ q: "ärger" }), [2]);
  assert.equal(find({ q: "Four" }), [4]);
  assert.equal(find({ q: "FOUR" }), []);
  assert.equal(find({ regex: "^(INFO|WARN)" }), [0, 4]);
  assert.equal(find({ regex: "^ERROR" }), [1]);
  assert.equal(find({ regex: "^$" }), [3]);
  assert.equal(find({ level: "warn" }), [4]);
  assert.equal(find({ level: "info", q: "one", regex: "W" }), [4]);
});

test("text is found in the same lines as line by line", async () => {
  const letters = fc.string({ unit: fc.constantFrom("a", "b", "A", "ß", "İ"), maxLength: 8 });
  await fc.assert(
    fc.asyncProperty(
      fc.array(letters, { minLength: 1, maxLength: 30 }),
      fc.constantFrom("a", "ab", "ba", "b", "ß"),
      async (texts, q) => {
        const lines = await linesOf(...texts);
        const expected = texts.flatMap((text, i) => (text.toLowerCase().includes(q) ? [i] : []));
        assert.equal(finderOf({ q })(lines, 0, lines.count), expected);
      },
    ),
    { numRuns: 300 },
  );
});

const packed = async (...texts: string[]) => {
  const lines = texts.map((text) => ({ time: 1, level: undefined, text, stderr: false, cut: false, gap: false }));
  const { data } = await pack(lines, { cursor: undefined, writer: "w.1", before: [], storedBefore: 0 });
  const count = lines.length;
  return { data, at: { count, from: 0, to: 2, first: 0, end: count, most: count, newest: false } };
};

test("no pattern blocks: what RE2 does not take is refused, the rest is linear, and others are served meanwhile", async () => {
  const { data, at } = await packed(...Array.from({ length: 50 }, () => `${"a".repeat(LINE_MOST - 1)}!`));
  const hard = ["(a+)+$", "(a|aa)+$", "(a?){60}b"].map((regex) => matcherOf({ regex }));
  let isDone = false;
  const looks = Promise.all(hard.flatMap((one) => [1, 2].map(() => one.look(data, at))));
  void looks.then(() => {
    isDone = true;
  });
  const easy = matcherOf({ q: "aab" });
  let turns = 0;
  for (; !isDone; turns++) await new Promise((resolve) => setImmediate(resolve));
  for (const { index } of await looks) assert.equal(index, []);
  assert.equal((await easy.look(data, at)).index, []);
  // A process that matches them itself comes to its next turn six times, once for each.
  assert.ok(turns > 50, `${turns} turns of the event loop`);
  for (const regex of ["(?=a)b", "(a)\\1", "a{1001}", "(", "\\pL{900}", "x".repeat(600)]) {
    assert.throws(
      () => matcherOf({ regex }),
      (error: unknown) => error instanceof LogQueryRefused && error.field === "regex",
      regex,
    );
  }
});

test("a search that is hard work lets others pass, and what has ended is not done any more", async () => {
  const { data, at } = await packed(...Array.from({ length: 32 }, () => "a".repeat(LINE_MOST)));
  const hard = matcherOf({ regex: "(a?){60}b" });
  let hardOnes = 0;
  const all = Array.from({ length: 200 }, () => hard.look(data, at).then(() => hardOnes++));
  const ended = Promise.allSettled(all);
  await all[0];
  const easy = matcherOf({ q: "b" });
  for (let i = 0; i < 20; i++) assert.equal((await easy.look(data, at)).index, []);
  assert.ok(hardOnes < 200, "all of the hard ones went first");
  hard.end();
  const rejected = (await ended).filter(({ status }) => status === "rejected");
  assert.ok(rejected.length > 0);
});

test("a chunk that is damaged is an error, and the threads go on", async () => {
  const { data, at } = await packed("one", "two");
  const matcher = matcherOf({ q: "two" });
  const damaged = await matcher.look(data.subarray(0, 12), at).catch((error: unknown) => error);
  assert.instance(damaged, Error);
  assert.equal((await matcher.look(data, at)).text, ["two"]);
});

test("what a pattern needs is in everything that it matches", () => {
  const table: ReadonlyArray<[string, string[]]> = [
    ["GET /orders/[0-9]+50 500", ["GET /orders/", "50 500"]],
    ["status=5\\d\\d", ["status=5"]],
    ["abc?d+ef*gh", ["ab", "d".repeat(0), "gh"].filter((text) => text !== "")],
    ["a|bc", []],
    ["(ab|cd)ef\\.gh", ["ef.gh"]],
    ["(?i)Error: x", ["Error: x"]],
    ["ab(?i)cd", []],
    ["[]ab]cd[^]]ef[[:alpha:]]gh", ["cd", "ef", "gh"]],
    ["abc{0,3}de", ["ab", "de"]],
    ["\\Qa.b\\Ecd", []],
    ["\\x41bcd", []],
  ];
  for (const [regex, texts] of table) assert.equal(literalsOf(regex).texts, texts, regex);
  const part = fc.constantFrom("a", "b", "ab", "(ab)", "[ab]", "\\.", "x{2}", "c", ".", "\\d", "(a|b)", "(?i)");
  const repeat = fc.constantFrom("", "", "", "?", "*", "+", "{0,2}", "{2}", "+?", "*?");
  const regexes = fc
    .array(fc.tuple(part, repeat), { minLength: 1, maxLength: 6 })
    .map((parts) => parts.map(([one, times]) => (/^\(\?i|\{/.test(one) ? one : one + times)).join(""));
  const texts = fc.array(fc.string({ unit: fc.constantFrom("a", "b", "c", "A", "x", ".", "1"), maxLength: 12 }), {
    minLength: 1,
    maxLength: 20,
  });
  return fc.assert(
    fc.asyncProperty(regexes, texts, async (regex, some) => {
      const lines = await linesOf(...some);
      const expected = some.flatMap((text, i) => (RE2JS.compile(regex).test(text) ? [i] : []));
      assert.equal(finderOf({ regex })(lines, 0, lines.count), expected);
    }),
    { numRuns: 1_000 },
  );
});

test("lines of one stamp are counted, so a collector goes on in the middle of them", () => {
  const stamps = ["1.1", "1.1", "1.1", "1.2", "1.2"];
  for (let stored = 0; stored <= stamps.length; stored++) {
    const before = new StampCursor(undefined);
    let cursor: string | undefined;
    for (const stamp of stamps.slice(0, stored)) cursor = before.next(stamp);
    const again = new StampCursor(cursor);
    const seen = stamps.filter((stamp) => again.since === undefined || stamp >= again.since);
    assert.is(seen.filter((stamp) => again.next(stamp) !== undefined).length, stamps.length - stored);
  }
});

test.run();
