/** Bodies of uploads: both clients' forms, cut at every byte, and what is none. */
import assert from "node:assert/strict";
import { gzipSync } from "node:zlib";
import fc from "fast-check";
import { suite } from "../../../../tests/harness/suite.ts";
import { boundaryOf, readJson, readMultipart } from "./multipart.ts";
import { Refusal } from "./refusal.ts";

const test = suite("multipart bodies");

interface Part {
  readonly filename: string;
  readonly content: Buffer;
}

/** As the older client sends it: no names. */
const mixed = (parts: ReadonlyArray<Part>, boundary: string): Buffer =>
  Buffer.concat([
    ...parts.flatMap(({ filename, content }) => [
      Buffer.from(
        `--${boundary}\r\nContent-Type: application/octet-stream\r\nContent-Disposition: attachment; filename="${filename}"\r\nContent-Length: ${content.length}\r\n\r\n`,
      ),
      content,
      Buffer.from("\r\n"),
    ]),
    Buffer.from(`--${boundary}--\r\n`),
  ]);

/** As the newer one does. */
const formData = (parts: ReadonlyArray<Part>, boundary: string): Buffer =>
  Buffer.concat([
    ...parts.flatMap(({ filename, content }, index) => [
      Buffer.from(
        `--${boundary}\r\nContent-Disposition: form-data; name="file${index}"; filename="${filename}"\r\nContent-Type: application/octet-stream\r\n\r\n`,
      ),
      content,
      Buffer.from("\r\n"),
    ]),
    Buffer.from(`--${boundary}--\r\n`),
  ]);

async function parts(pieces: ReadonlyArray<Buffer>, boundary: string, slowly = false): Promise<Part[]> {
  const found: { filename: string; content: Buffer[]; over: boolean }[] = [];
  await readMultipart(pieces, boundary, (filename) => {
    const part = { filename, content: [] as Buffer[], over: false };
    found.push(part);
    return {
      write: (piece) => {
        assert.ok(!part.over, "a piece came behind the end of its part");
        part.content.push(Buffer.from(piece));
        return slowly ? new Promise((resolve) => setImmediate(resolve)) : undefined;
      },
      end: () => {
        part.over = true;
        return undefined;
      },
    };
  });
  assert.ok(found.every(({ over }) => over));
  return found.map(({ filename, content }) => ({ filename, content: Buffer.concat(content) }));
}

const boundary = "4b1c\u002d-x";
/** Content that begins like a boundary, again and again, ends like one, is empty. */
const tricky: ReadonlyArray<Part> = [
  { filename: "a", content: Buffer.from("\r\n--4b1c\r\n\r\r\n-") },
  { filename: "b", content: Buffer.alloc(0) },
  { filename: "c", content: Buffer.from("\r\n--4b1c--\r\n\r\n--4b1c-") },
  { filename: "d", content: Buffer.from("\r\n") },
];

test("two pieces, cut at every byte, in both clients' forms", async () => {
  for (const form of [mixed, formData]) {
    const body = form(tricky, boundary);
    for (let at = 0; at <= body.length; at++) {
      assert.deepEqual(await parts([body.subarray(0, at), body.subarray(at)], boundary, at % 7 === 0), tricky);
    }
  }
});

test("byte by byte", async () => {
  const body = mixed(tricky, boundary);
  assert.deepEqual(
    await parts(
      [...body].map((byte) => Buffer.from([byte])),
      boundary,
    ),
    tricky,
  );
});

test("any content, cut anywhere", async () => {
  const content = fc
    .array(fc.constantFrom("\r", "\n", "-", "--", "\r\n", "\r\n--", "b", "bb", "\0", "x"), { maxLength: 30 })
    .map((words) => Buffer.from(words.join("")));
  await fc.assert(
    fc.asyncProperty(
      fc.array(content, { maxLength: 5 }),
      fc.array(fc.nat(400), { maxLength: 8 }),
      async (all, cuts) => {
        const whole = all
          .filter((each) => !each.includes("\r\n--bb"))
          .map((each, i) => ({ filename: `${i}`, content: each }));
        const body = formData(whole, "bb");
        const places = [0, ...cuts.map((cut) => cut % (body.length + 1)).sort((a, b) => a - b), body.length];
        const pieces = places.slice(1).map((to, i) => body.subarray(places[i], to));
        assert.deepEqual(await parts(pieces, "bb"), whole);
      },
    ),
    { numRuns: 150 },
  );
});

test("what stands before the first boundary, behind it and behind the last is nobody's", async () => {
  const body = Buffer.from(
    "prologue\r\n--b \t\r\nContent-Disposition: attachment; filename=f\r\n\r\nX\r\n--b--\r\nepilogue --b",
  );
  assert.deepEqual(await parts([body], "b"), [{ filename: "f", content: Buffer.from("X") }]);
  assert.deepEqual(await parts([Buffer.from("--b--")], "b"), []);
});

const refused = async (work: Promise<unknown>, code: string, words: RegExp) => {
  await assert.rejects(work, (error: unknown) => {
    assert.ok(error instanceof Refusal, `${error}`);
    assert.equal(error.code, code);
    assert.match(error.reason, words);
    return true;
  });
};

test("what is no such body is refused", async () => {
  const head = 'Content-Disposition: attachment; filename="f"';
  await refused(parts([Buffer.from(`--b\r\n${head}\r\n\r\nX\r\n--b`)], "b"), "bad-body", /before its last boundary/);
  await refused(parts([Buffer.from("")], "b"), "bad-body", /before its last boundary/);
  await refused(parts([Buffer.from("--bX\r\n")], "b"), "bad-body", /behind a boundary/);
  await refused(parts([Buffer.from("--b\r\n\r\nX\r\n--b--")], "b"), "bad-body", /no file name/);
  await refused(
    parts([Buffer.from('--b\r\nContent-Disposition: form-data; name="x"\r\n\r\nX\r\n--b--')], "b"),
    "bad-body",
    /no file name/,
  );
  await refused(
    parts([Buffer.from(`--b\r\n${head}\r\nContent-Transfer-Encoding: base64\r\n\r\nX`)], "b"),
    "bad-body",
    /encoded/,
  );
  const long = Array.from({ length: 40 }, () => Buffer.alloc(1000, "h"));
  await refused(parts([Buffer.from("--b\r\n"), ...long], "b"), "bad-body", /more than 16384 bytes/);
  const many = Buffer.from(`--b\r\n${head}\r\n\r\nX\r\n`.repeat(3));
  await refused(
    readMultipart([many], "b", () => ({ write: () => undefined, end: () => undefined }), { parts: 2, headerBytes: 99 }),
    "bad-body",
    /more than 2 parts/,
  );
});

test("the boundary", () => {
  assert.equal(boundaryOf('multipart/mixed; boundary="a b"; x=y'), "a b");
  assert.equal(boundaryOf("Multipart/Form-Data;boundary=----x"), "----x");
  for (const wrong of [
    undefined,
    "",
    "text/plain; boundary=b",
    "multipart/mixed",
    "multipart/mixed; boundary=",
    'multipart/mixed; boundary="a\r"',
    `multipart/mixed; boundary=${"a".repeat(71)}`,
  ]) {
    assert.throws(() => boundaryOf(wrong), Refusal);
  }
});

test("JSON, packed or not, never more than allowed", async () => {
  const value = { wanted: ["a".repeat(64)] };
  const packed = gzipSync(JSON.stringify(value));
  assert.deepEqual(await readJson([Buffer.from(JSON.stringify(value))], undefined, 1000), value);
  assert.deepEqual(await readJson([packed.subarray(0, 5), packed.subarray(5)], "gzip", 1000), value);
  await refused(readJson([packed.subarray(0, -9)], "gzip", 1000), "bad-body", /gzip/);
  await refused(readJson([Buffer.from("plain")], "gzip", 1000), "bad-body", /gzip/);
  await refused(readJson([Buffer.from("{")], undefined, 1000), "bad-body", /no JSON/);
  await refused(readJson([Buffer.alloc(2000, " ")], undefined, 1000), "too-large", /1000/);
  await refused(readJson([packed], "br", 1000), "bad-body", /not known/);
});

test("a small body that unpacks to a huge one ends at the limit", async () => {
  const bomb = gzipSync(Buffer.alloc(64 * 1024 * 1024));
  const before = process.memoryUsage().arrayBuffers;
  await refused(readJson([bomb], "gzip", 1024 * 1024), "too-large", /1048576/);
  assert.ok(process.memoryUsage().arrayBuffers - before < 32 * 1024 * 1024, "it was unpacked whole");
});

test.run();
