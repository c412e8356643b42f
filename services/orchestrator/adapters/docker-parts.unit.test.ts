/** The parts of the engine's adapter that need no engine. */
import { writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { Readable } from "node:stream";
import * as fc from "fast-check";
import * as assert from "uvu/assert";
import { testFolder } from "../../../tests/harness/servers.ts";
import { suite } from "../../../tests/harness/suite.ts";
import { inputHash } from "./build-input.ts";
import { baseNames } from "./dockerfile.ts";
import { failureOf } from "./fixtures/docker.ts";
import { jsonLines } from "./json-lines.ts";
import { frames } from "./log-frames.ts";
import { cursorOf, parseCursor, sinceOf } from "./log-places.ts";
import { probeReady, probeThrough } from "./probe.ts";
import { overlaps, parseRange, parseRoutes, subnetAt } from "./subnets.ts";

const test = suite("docker parts");

async function all<A>(of: AsyncIterable<A>): Promise<A[]> {
  const found: A[] = [];
  for await (const one of of) found.push(one);
  return found;
}

function messageOf(failing: Promise<unknown>): Promise<string> {
  return failing.then(
    () => "it did not fail",
    (error: Error) => error.message,
  );
}

/** The bytes in pieces whose lengths come from the list, round and round. */
function* pieces(bytes: Buffer, lengths: readonly number[]): Generator<Buffer> {
  for (let at = 0, turn = 0; at < bytes.length; turn++) {
    const length = Math.max(1, lengths[turn % lengths.length]!);
    yield bytes.subarray(at, at + length);
    at += length;
  }
}

const cuts = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 8 });

test("JSON lines are the same however the transport cuts them", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.string({ unit: "grapheme" }).map((stream) => ({ stream }))),
      cuts,
      async (values, lengths) => {
        const bytes = Buffer.from(values.map((value) => JSON.stringify(value)).join("\r\n"));
        assert.equal(await all(jsonLines(Readable.from(pieces(bytes, lengths)))), values);
      },
    ),
    { numRuns: 100 },
  );
  const broken = await all(jsonLines(Readable.from([Buffer.from('{"a":')]))).catch((error: Error) => error.name);
  assert.is(broken, "SyntaxError");
});

test("log frames are the same however the transport cuts them; a torn one is an error", async () => {
  const frame = (kind: number, text: string) => {
    const head = Buffer.alloc(8);
    head[0] = kind;
    head.writeUInt32BE(Buffer.byteLength(text), 4);
    return Buffer.concat([head, Buffer.from(text)]);
  };
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(fc.constantFrom(1, 2), fc.string())), cuts, async (parts, lengths) => {
      const bytes = Buffer.concat(parts.map(([kind, text]) => frame(kind, text)));
      const found = await all(frames(Readable.from(pieces(bytes, lengths))));
      const said = found.map(({ stream, payload }) => [stream === "stderr" ? 2 : 1, payload.toString()]);
      assert.equal(said, parts);
    }),
    { numRuns: 100 },
  );
  const torn = frame(1, "whole").subarray(0, 10);
  assert.match(await messageOf(all(frames(Readable.from([torn])))), "inside a frame");
  assert.match(await messageOf(all(frames(Readable.from([Buffer.from("no frames")])))), "no frame");
});

test("a cursor is read as it was written; reading begins a second before the younger stream", () => {
  const places = {
    stdout: { at: "2026-01-02T03:04:05.000000007Z", count: 2 },
    stderr: { at: "2026-01-02T03:04:04Z", count: 1 },
  };
  assert.equal(parseCursor(cursorOf(places)), places);
  assert.equal(parseCursor(cursorOf({ stderr: places.stderr })), { stderr: places.stderr });
  assert.is(cursorOf(parseCursor(undefined)), undefined);
  const seconds = Date.UTC(2026, 0, 2, 3, 4, 4) / 1000;
  assert.equal(sinceOf(places), { since: `${seconds}.000000007` });
  assert.equal(sinceOf({}), {});
  for (const wrong of ["", "x", "a#1,b#2", ",2026-01-02T03:04:05Z", ",,"])
    assert.throws(() => parseCursor(wrong), /no cursor/, wrong);
});

test("subnets: cut, told apart, refused", () => {
  const range = parseRange({ range: "10.213.5.7/16", prefix: 27 });
  assert.is(range.count, 2048);
  assert.is(subnetAt(range, 0), "10.213.0.0/27");
  assert.is(subnetAt(range, 2047), "10.213.255.224/27");
  assert.ok(overlaps("10.213.0.0/27", "10.213.0.16/28"));
  assert.ok(overlaps("10.213.0.40/32", "10.0.0.0/8"));
  assert.not(overlaps("10.213.0.0/27", "10.213.0.32/27"));
  assert.not(overlaps("10.213.0.0/27", "192.168.0.0/16"));
  for (const wrong of ["10.0.0/8", "10.0.0.256/8", "fd00::/8", "10.0.0.0/33"])
    assert.throws(() => parseRange({ range: wrong, prefix: 28 }), /no range/, wrong);
  assert.throws(() => parseRange({ range: "10.0.0.0/28", prefix: 27 }), /does not fit/);
  const table = [
    "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT",
    "eth0\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\t0\t0\t0",
    "br-0\t2000D50A\t00000000\t0001\t0\t0\t0\tE0FFFFFF\t0\t0\t0",
  ];
  assert.equal(parseRoutes(table.join("\n")), ["10.213.0.32/27"]);
});

const dockerfiles: [what: string, text: string, names: string[]][] = [
  ["one", "FROM debian:12\nRUN true", ["debian:12"]],
  [
    "stages, scratch and numbers",
    "FROM a AS One\nFROM one\nFROM scratch\nCOPY --from=0 /x /x\nCOPY --chown=1 --from=b:1 /x /y",
    ["a", "b:1"],
  ],
  [
    "arguments",
    "ARG V=1\nARG W\nFROM a:$V\nFROM b:${V}-x\nFROM c:${W:-2}\nFROM d:${X}\nARG V=3\nFROM e:$V",
    ["a:1", "b:1-x", "c:2", "e:1"],
  ],
  ["given arguments", "ARG V=1\nFROM a:$V\nARG Z=1\nFROM b:$Z", ["a:9"]],
  [
    "platform, comments, continued lines",
    "# FROM no\nFROM --platform=linux/amd64 \\\n  # in between\n  a \\\n  AS x\nRUN echo \\\n  FROM y",
    ["a"],
  ],
  ["another escape, quotes, lower case", '# escape=`\nARG V="q"\nfrom a:$V as `\n b', ["a:q"]],
];
for (const [what, text, names] of dockerfiles) {
  test(`images a Dockerfile begins with: ${what}`, () => {
    assert.equal(baseNames(text, what === "given arguments" ? { V: "9" } : {}), names);
  });
}

test("the hash of a build's input: every part counts, no order does", () => {
  const bases = [
    { name: "a", id: "1" },
    { name: "b", id: "2" },
  ];
  const input = { tree: "t", dockerfile: "Dockerfile", context: ".", args: { A: "1", B: "2" }, bases };
  const hash = inputHash(input);
  assert.match(hash, /^[0-9a-f]{64}$/);
  assert.is(inputHash({ ...input, args: { B: "2", A: "1" }, bases: [...bases].reverse() }), hash);
  const others = [
    { tree: "u" },
    { dockerfile: "x" },
    { context: "x" },
    { args: { A: "1" } },
    { bases: bases.slice(1) },
  ];
  assert.is(new Set([hash, ...others.map((other) => inputHash({ ...input, ...other }))]).size, 6);
});

async function serve(answer: Parameters<typeof createServer>[1]): Promise<{ server: Server; address: string }> {
  const server = createServer(answer!);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { server, address: `127.0.0.1:${(server.address() as AddressInfo).port}` };
}

const schedule = (more = {}) => ({
  successes: 3,
  timeoutMs: 300,
  deadlineAt: Date.now() + 10_000,
  signal: new AbortController().signal,
  ...more,
});

test("ready after so many answers in a row; one that fails in between begins anew", async ({ defer }) => {
  const answers = [500, 200, 200, 404, 200, 302, 200];
  const { server, address } = await serve((_, response) => response.writeHead(answers.shift() ?? 500).end());
  defer(() => server.close());
  const { probes, firstMs } = await probeReady(address, "/", schedule());
  assert.is(probes, 7);
  assert.ok(firstMs >= 0);
});

test("never ready: the last answer, silence and refusal are told; given up and cancelled at once", async ({
  defer,
}) => {
  const { server, address } = await serve((request, response) => {
    if (request.url === "/503") response.writeHead(503).end();
  });
  defer(() => server.close());
  defer(() => server.closeAllConnections());
  const soon = () => schedule({ deadlineAt: Date.now() + 700 });
  const sick = await failureOf(probeReady(address, "/503", soon()));
  assert.is(sick.code, "NOT_READY");
  assert.is(sick.class, "timeout");
  assert.match(sick.reason, "answered 503");
  assert.match((await failureOf(probeReady(address, "/silent", soon()))).reason, "no answer within 300 ms");
  assert.match((await failureOf(probeReady("127.0.0.1:1", "/", soon()))).reason, "nothing listened");
  const gone = await failureOf(probeReady(address, "/503", schedule({ giveUp: async () => sick })));
  assert.is(gone, sick);
  const cancel = new AbortController();
  const cancelled = failureOf(probeReady(address, "/silent", schedule({ timeoutMs: 60_000, signal: cancel.signal })));
  cancel.abort();
  assert.is((await cancelled).code, "CANCELLED");
});

test("through the proxy only the wanted deployment counts, under the application's host", async ({ defer }) => {
  const deployments = ["dep_old", "dep_old", undefined, "dep_new"];
  const { server, address } = await serve((request, response) => {
    const deployment = deployments.length > 1 ? deployments.shift() : deployments[0];
    if (deployment && request.headers.host === "one.example.org")
      response.setHeader("X-Millrace-Deployment", deployment);
    response.end("ok");
  });
  defer(() => server.close());
  const target = { host: "one.example.org", path: "/", deployment: "dep_new" };
  const { probes } = await probeThrough(`http://${address}`, target, schedule());
  assert.is(probes, 6);
  const other = { ...target, host: "two.example.org" };
  const failed = await failureOf(probeThrough(`http://${address}`, other, schedule({ deadlineAt: Date.now() + 500 })));
  assert.match(failed.reason, "as no deployment");
});

test("a context is archived the same whenever it is", async () => {
  const { packContext } = await import("./build-context.ts");
  const folder = testFolder("same");
  for (const name of ["b", "a", "Dockerfile"]) writeFileSync(join(folder, name), name);
  const archive = async () => Buffer.concat((await all(packContext(folder, "Dockerfile", 1 << 20))) as Buffer[]);
  const one = await archive();
  writeFileSync(join(folder, "a"), "a");
  assert.ok(one.length > 1_000 && one.equals(await archive()));
});

test.run();
