/** Objects by hand: what is taken, and everything hostile that is not, with the object's name. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { deflateRawSync } from "node:zlib";
import fc from "fast-check";
import {
  type MadeObject,
  makeCommit,
  makeDirMeta,
  makeDirTree,
  makeFile,
  makeMetadata,
} from "../../../../tests/harness/ostree-objects.ts";
import { suite } from "../../../../tests/harness/suite.ts";
import { decode, decodeNormal, encode, NotAVariant, type Value } from "./gvariant.ts";
import { decodeDelta, encodeDelta, parseFlatpakRef, uploadTarget } from "./names.ts";
import { parseCommit } from "./objects.ts";
import { Refusal, type RefusalCode } from "./refusal.ts";
import { verifyObject } from "./verify.ts";

const test = suite("OSTree objects");
const some = "ab".repeat(32);

/** In pieces of a size. */
const cut = (bytes: Buffer, size: number): Buffer[] =>
  Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) => bytes.subarray(i * size, (i + 1) * size));

async function isTaken(object: MadeObject): Promise<void> {
  for (const size of [1, 7, 4096, 1 << 20]) {
    if (object.bytes.length / size < 5000) await verifyObject(object.name, cut(object.bytes, size));
  }
}

async function isRefused(object: Pick<MadeObject, "name" | "bytes">, code: RefusalCode, words: RegExp): Promise<void> {
  for (const size of [3, 1 << 20]) {
    if (object.bytes.length / size > 5000) continue;
    await assert.rejects(verifyObject(object.name, cut(object.bytes, size)), (error: unknown) => {
      assert.ok(error instanceof Refusal, `${(error as Error).stack}`);
      assert.equal(`${error.code} ${error.subject}`, `${code} ${object.name}`, error.message);
      assert.match(error.reason, words);
      assert.notEqual(error.fix, "");
      return true;
    });
  }
}

test("files: short, empty, long, links short and long, attributes", async () => {
  for (const content of ["", "x", "hello ".repeat(1000), randomBytes(200_000), Buffer.alloc(9_000_000)]) {
    await isTaken(makeFile(content));
  }
  await isTaken(makeFile("x", { mode: 0o104755, uid: 4_000_000_000 }));
  for (const length of [1, 190, 210, 216, 217, 218, 219, 220, 224, 225, 226, 300, 4000, 70_000]) {
    await isTaken(makeFile("", { target: "t".repeat(length) }));
  }
  await isTaken(makeFile("x", { attributes: [[Buffer.from("user.a\0"), randomBytes(300)]] }));
});

test("metadata", async () => {
  const meta = makeDirMeta();
  const tree = makeDirTree(
    [
      ["a", some],
      ["ü".repeat(127), some],
    ],
    [["b", some, meta.checksum]],
  );
  for (const object of [meta, tree, makeDirTree([]), makeCommit(tree.checksum, meta.checksum, some)])
    await isTaken(object);
  const commit = makeCommit(tree.checksum, meta.checksum, some, 1_234_567_890);
  const { parent, timestamp } = parseCommit(commit.bytes, commit.name);
  assert.deepEqual({ parent, timestamp }, { parent: some, timestamp: 1_234_567_890 });
});

test("content that is another's", async () => {
  for (const object of [
    makeFile("right"),
    makeFile(randomBytes(200_000)),
    makeDirMeta(),
    makeFile("", { target: "t" }),
  ]) {
    await isRefused(
      { name: some + object.name.slice(64), bytes: object.bytes },
      "hash-mismatch",
      /checksum [0-9a-f]{64}/,
    );
  }
});

test("content that ends too early", async () => {
  for (const { name, bytes } of [makeFile("hello world"), makeFile(randomBytes(200_000))]) {
    for (const left of [0, 4, 8, 20, bytes.length - 20, bytes.length - 1]) {
      await isRefused({ name, bytes: bytes.subarray(0, left) }, "truncated", /ends/);
    }
  }
});

test("sizes that lie, and bombs", async () => {
  await isRefused(makeFile("hello", { size: 4 }), "malformed", /says 4 bytes/);
  await isRefused(makeFile("hello", { size: 6 }), "malformed", /says 6 bytes/);
  await isRefused(makeFile(randomBytes(200_000), { size: 1 }), "malformed", /says 1 byte/);
  await isRefused(makeFile(Buffer.alloc(50_000_000), { size: 1000 }), "malformed", /says 1000 bytes/);
  await isRefused(makeFile("x", { size: 2 ** 50 }), "too-large", /would have/);
  const honest = makeFile(Buffer.alloc(2_000_000));
  await assert.rejects(
    verifyObject(honest.name, [honest.bytes], { contentBytes: 1_000_000 }),
    /would have 2000000 bytes/,
  );
});

test("something behind the end", async () => {
  const more = (packed: Buffer) => Buffer.concat([packed, Buffer.from("more")]);
  await isRefused(makeFile("hello", { packed: more }), "malformed", /behind/);
  await isRefused(makeFile(randomBytes(300_000), { packed: more }), "malformed", /behind/);
  await isRefused(makeFile("", { target: "t", packed: more }), "malformed", /behind a link/);
  const twice = makeFile(randomBytes(300_000), {
    packed: (bytes) => Buffer.concat([bytes, deflateRawSync(Buffer.alloc(70_000))]),
  });
  await isRefused(twice, "malformed", /behind/);
});

test("heads that are none", async () => {
  const { name, bytes } = makeFile("hello");
  const changed = (at: number, value: number) => {
    const copy = Buffer.from(bytes);
    copy[at] = value;
    return { name, bytes: copy };
  };
  await isRefused(changed(0, 255), "too-large", /head says/);
  await isRefused(changed(5, 1), "malformed", /does not begin/);
  await isRefused(changed(3, bytes[3]! - 1), "malformed", /not as OSTree writes it/);
  await isRefused(makeFile("x", { mode: 0o60644 }), "malformed", /mode 60644/);
  await isRefused(makeFile("x", { mode: 0o40755 }), "malformed", /mode/);
  await isRefused(makeFile("x", { mode: 0o300644 }), "malformed", /mode/);
  await isRefused(makeFile("x", { device: 5 }), "malformed", /device/);
  await isRefused(makeFile("", { mode: 0o100644, target: "t" }), "malformed", /with a target/);
  await isRefused(makeFile("x", { mode: 0o120777 }), "malformed", /without a target/);
  const long = makeFile("x", { attributes: [[Buffer.from("a\0"), Buffer.alloc(1_100_000)]] });
  await isRefused(long, "too-large", /head says/);
});

test("names that lead elsewhere, names twice, checksums that are none, modes of no folder", async () => {
  for (const name of ["", ".", "..", "a/b", "/etc", "../x"]) {
    await isRefused(makeDirTree([[name, some]]), "malformed", /leads elsewhere/);
    await isRefused(makeDirTree([], [[name, some, some]]), "malformed", /leads elsewhere/);
  }
  await isRefused(makeDirTree([["n".repeat(256), some]]), "malformed", /255 bytes/);
  await isRefused(makeDirTree([["a", some]], [["a", some, some]]), "malformed", /twice/);
  await isRefused(makeDirTree([["a", "abcd"]]), "malformed", /2 bytes/);
  await isRefused(makeCommit(some, "", ""), "malformed", /0 bytes/);
  await isRefused(makeDirMeta(0o100644), "malformed", /mode/);
  const latin = encode("(a(say)a(sayay))", [[["aXb", Buffer.from(some, "hex")]], []]);
  latin[1] = 0xff;
  await isRefused(makeMetadata("dirtree", latin), "malformed", /UTF-8/);
  for (const bytes of [Buffer.alloc(0), Buffer.alloc(3), randomBytes(500), Buffer.alloc(100_000, 255)]) {
    await isRefused(makeMetadata("dirtree", bytes), "malformed", /as OSTree writes it/);
    await isRefused(makeMetadata("commit", bytes), "malformed", /as OSTree writes it/);
  }
});

test("a second spelling of the same metadata is none of OSTree's", async () => {
  const { bytes } = makeDirTree([["a", some]]);
  await isRefused(makeMetadata("dirtree", Buffer.concat([Buffer.alloc(1), bytes])), "malformed", /as OSTree writes it/);
  await isRefused(makeMetadata("dirtree", Buffer.concat([bytes, Buffer.alloc(1)])), "malformed", /as OSTree writes it/);
});

test("metadata without end", async () => {
  await assert.rejects(verifyObject(`${some}.commit`, cut(Buffer.alloc(17 * 1024 * 1024), 1 << 20)), /at most/);
});

const type = "(ybnqiuxtdsay v a(say) a{sv} mu ms (yt) as a(uayttay) ())".replaceAll(" ", "");
const value = fc
  .tuple(
    fc.integer({ min: 0, max: 255 }),
    fc.boolean(),
    fc.integer({ min: -32768, max: 32767 }),
    fc.nat(65535),
    fc.integer(),
    fc.nat(),
    fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
    fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
    fc.double({ noNaN: true }),
    fc.string({ unit: "grapheme" }).filter((text) => !text.includes("\0")),
    fc.uint8Array({ maxLength: 400 }).map((bytes) => Buffer.from(bytes)),
    fc.constantFrom<Value>(
      { type: "t", value: 5n },
      { type: "as", value: ["x", ""] },
      { type: "v", value: { type: "a{sv}", value: [] } },
    ),
    fc.array(
      fc.tuple(
        fc.string().filter((text) => !text.includes("\0")),
        fc.constant(Buffer.from("x")),
      ),
      { maxLength: 60 },
    ),
    fc.constant([["k", { type: "b", value: true }]]),
    fc.option(fc.nat()),
    fc.option(fc.constant("some")),
    fc.constant([1, 2n]),
    fc.array(fc.constantFrom("", "a", "b".repeat(300)), { maxLength: 5 }),
    fc.constant([[1, Buffer.from("x"), 2n, 3n, Buffer.alloc(33)]]),
    fc.constant([]),
  )
  .map((values) => values as unknown as Value);

test("GVariant: what is written is read, in both orders, and nothing else is normal", () => {
  fc.assert(
    fc.property(value, fc.boolean(), (given, little) => {
      assert.deepEqual(decodeNormal(type, encode(type, given, { little }), { little }), given);
    }),
    { numRuns: 200 },
  );
});

test("GVariant: changed bytes are a value or none, never anything else", () => {
  let none = 0;
  fc.assert(
    fc.property(
      value,
      fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 4 }),
      fc.nat(),
      (given, changes, end) => {
        const bytes = encode(type, given);
        for (const [at, byte] of changes) bytes[at % bytes.length] = byte;
        const left = end % 3 === 0 ? bytes.subarray(0, end % bytes.length) : bytes;
        try {
          decode(type, Buffer.from(left));
        } catch (error) {
          assert.ok(error instanceof NotAVariant || error instanceof RangeError, `${error}`);
          none++;
        }
      },
    ),
    { numRuns: 500 },
  );
  assert.ok(none > 50, "hardly anything was refused");
});

test("GVariant: types without end, depth without end, and lists without end", () => {
  for (const wrong of [
    "",
    "z",
    "(",
    "a",
    "{s",
    "{sss}",
    "{vs}",
    "ss",
    `${"a".repeat(300)}y`,
    `${"(".repeat(40)}${")".repeat(40)}`,
  ]) {
    assert.throws(() => decode(wrong, Buffer.alloc(8)), NotAVariant, wrong);
  }
  let nested: Value = { type: "y", value: 1 };
  for (let depth = 0; depth < 40; depth++) nested = { type: "v", value: nested };
  assert.throws(() => decode("v", encode("v", nested)), /too deep/);
  assert.throws(() => decode("ab", Buffer.alloc(2_000_000)), /too many values/);
});

test("names of uploads", () => {
  const name = `${some}.filez`;
  assert.deepEqual(uploadTarget(name), { kind: "object", name, path: `objects/ab/${name.slice(2)}` });
  const delta = encodeDelta({ from: some, to: "fb".repeat(32) });
  assert.match(delta, /^[A-Za-z0-9+_]{43}-[A-Za-z0-9+_]{43}$/);
  assert.deepEqual(decodeDelta(delta), { from: some, to: "fb".repeat(32) });
  const target = uploadTarget(`${delta}.12.delta`);
  assert.deepEqual(target, {
    kind: "delta",
    delta: decodeDelta(delta),
    part: 12,
    path: `deltas/${delta.slice(0, 2)}/${delta.slice(2)}/12`,
  });
  const plus = encodeDelta({ from: undefined, to: "fb".repeat(32) });
  assert.ok(plus.includes("+"), plus);
  // As one client's library writes it into a header.
  assert.deepEqual(
    uploadTarget(`${plus.replaceAll("+", "%2B")}.superblock.delta`),
    uploadTarget(`${plus}.superblock.delta`),
  );
  const last = plus.slice(0, 42);
  for (const wrong of [
    "",
    "x",
    `${some}.file`,
    `${some}.commitmeta`,
    `${some.toUpperCase()}.filez`,
    `${some}.filez/..`,
    `../${name}`,
    `${name}\n`,
    `x${name}`,
    `${some}.filez%00`,
    "%2e%2e%2fconfig",
    `${plus}.delta`,
    `${plus}.01.delta`,
    `${plus}.-1.delta`,
    `${plus}-.0.delta`,
    `${last}.0.delta`,
    `${last}*.0.delta`,
    `${last}9.0.delta`,
  ]) {
    assert.throws(
      () => uploadTarget(wrong),
      (error) => error instanceof Refusal && error.code === "bad-name",
      wrong,
    );
  }
});

test("names of deltas: each commit has one", () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 32, maxLength: 32 }),
      fc.option(fc.uint8Array({ minLength: 32, maxLength: 32 })),
      (to, from) => {
        const delta = {
          from: from === null ? undefined : Buffer.from(from).toString("hex"),
          to: Buffer.from(to).toString("hex"),
        };
        assert.deepEqual(decodeDelta(encodeDelta(delta)), delta);
      },
    ),
  );
});

test("references of flatpak", () => {
  assert.deepEqual(parseFlatpakRef("app/org.test.Hello/x86_64/stable"), {
    kind: "app",
    id: "org.test.Hello",
    arch: "x86_64",
    branch: "stable",
  });
  assert.deepEqual(parseFlatpakRef("runtime/org.test.Hello.Locale/aarch64/24.08-extra"), {
    kind: "runtime",
    id: "org.test.Hello.Locale",
    arch: "aarch64",
    branch: "24.08-extra",
  });
  assert.deepEqual(parseFlatpakRef("screenshots/x86_64"), { kind: "screenshots", arch: "x86_64" });
  for (const wrong of [
    "",
    "app",
    "app/org.a.B",
    "app/org.a.B/x86_64",
    "app/org.a.B/x86_64/stable/x",
    "app/org/x86_64/stable",
    "app/org.1a/x86_64/stable",
    "app/../x86_64/stable",
    "app/org.a.B/x86_64/..",
    "app/org.a.B/x86_64/",
    "appstream/x86_64",
    "app/org.a.B/x86-64/stable",
    "screenshots",
    "screenshots/a/b",
    "ostree-metadata",
    `app/org.${"a".repeat(300)}/x/y`,
    "app/org.a.B/x86_64/st able",
  ]) {
    assert.throws(
      () => parseFlatpakRef(wrong),
      (error) => error instanceof Refusal && error.code === "bad-name",
      wrong,
    );
  }
});

test.run();
