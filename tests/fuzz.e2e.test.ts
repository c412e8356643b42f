/**
 * The whole API under fire, made from its own document: see tests/fuzz. FUZZ_SEED chooses the requests, FUZZ_REQUESTS how
 * many (20,000); what fails is printed with its seed and the smallest request that shows it.
 */
import assert from "node:assert/strict";
import { heads, openTarget, run, type Target, table, unansweredCommits } from "./fuzz/campaign.ts";
import { OPERATIONS, type Operation } from "./fuzz/document.ts";
import { makerOf, plainPlan } from "./fuzz/plan.ts";
import { talk } from "./fuzz/wire.ts";
import { suite } from "./harness/suite.ts";

const SEED = Number(process.env.FUZZ_SEED ?? Date.now() % 1_000_000_000);
const REQUESTS = Number(process.env.FUZZ_REQUESTS ?? 20_000);
/** Nothing in the log, so nothing to be retried or dropped. */
const NEVER = new Set([
  ...["system.retryDeadLetter", "system.dropDeadLetter"],
  // Only a member has a profile, and only whoever was given its secret accepts an invitation.
  ...["members.getProfile", "members.changeProfile", "members.createOwnToken", "members.acceptInvitation"],
  // Made by workers, of whom none is there; and bytes, for which a node would have to be.
  ...["processes.getProcess", "processes.historyOfProcess"],
  ...OPERATIONS.map(({ id }) => id).filter((id) => id.startsWith("uploads.")),
  // Its body is no JSON: what is asked of it here is refused as such.
  "work.attachFile",
  // Only an agent can tell, or has read what there is to adopt.
  ...["devices.planOfDevice", "devices.liveDevice", "devices.adoptDevice"],
  // Only an agent knows what a device can do, or finds what a commit would change; only the projector fires an alert.
  ...["devices.capabilitiesOfDevice", "deviceSyncs.approveSync", "alerts.acknowledgeAlert"],
  // No place for backups is set, which is what it is told.
  "system.makeBackup",
  // No publisher is there, so no repository is ever made, and nothing is brought to a build.
  ...["repositories.retryRepository", "repositories.rotateRepositoryKey", "repositories.validateRepository"],
  ...["repositories.pruneRepository", "repositories.previewPrune", "repositories.mirrorRepository"],
  ...["repositories.repositoryContents", "repositories.repositoryRemote", "repositories.repositoryStatistics"],
  ...[
    "builds.commitBuild",
    "builds.publishBuild",
    "builds.retryBuild",
    "builds.rollBackToBuild",
    "builds.promoteBuild",
  ],
  ...["builds.unpublishBuild", "builds.missingObjects", "builds.uploadObjects", "builds.artefactsOfBuild"],
  ...["builds.reviewBuild", "builds.approveBuild", "builds.rejectBuild"],
  // No worker is there, so nothing is ever live.
  ...["applications.planRollback", "applications.rollBackApplication", "applications.restartApplication"],
]);
/** Of 24 requests each. */
const ROUNDS = 20;
const HEAP_GROWTH = 48 * 1024 * 1024;

const test = suite("fuzz", { timeoutMs: 300_000 });
let target: Target;
test.before(async () => {
  target = await openTarget();
});

test(`every answer to ${REQUESTS} requests is as documented, and what was refused has left nothing in the log`, async () => {
  const from = await heads(target);
  const first = await run(target, SEED, REQUESTS / 2);
  const heapBefore = await target.heap();
  const second = await run(target, SEED + 1_000, REQUESTS / 2);
  const heapAfter = await target.heap();
  console.log(
    `seed ${SEED}, ${first.busy + second.busy} asked again, heap ${heapBefore} then ${heapAfter}\n${table(first)}`,
  );
  assert.deepEqual([...first.failures, ...second.failures], []);
  assert.ok(target.isAlive());
  assert.ok(first.busy + second.busy < REQUESTS / 20, `${first.busy + second.busy} queries found somebody busy`);
  assert.ok(heapAfter - heapBefore < HEAP_GROWTH, `the heap grew from ${heapBefore} to ${heapAfter} bytes`);

  // What did not succeed by chance is asked for until it does: what never can is not tested.
  const outcomes = [first, second];
  const answered = (id: string) => outcomes.flatMap(({ statuses }) => [...(statuses.get(id) ?? [])]);
  const succeeds = (id: string) => answered(id).some(([status]) => status < 300);
  let seed = SEED + 2_000;
  const plainly = async (operation: Operation | undefined, count: number) => {
    seed += 100;
    if (operation !== undefined) outcomes.push(await run(target, seed, count, { plans: plainPlan(operation) }));
  };
  for (const operation of OPERATIONS.filter(({ id }) => !NEVER.has(id))) {
    for (let round = 0; round < ROUNDS && !succeeds(operation.id); round++) {
      await plainly(makerOf(operation), 6);
      await plainly(operation, 24);
    }
  }
  assert.deepEqual(
    outcomes.flatMap(({ failures }) => failures),
    [],
  );
  const never = OPERATIONS.map(({ id }) => id)
    .filter((id) => !NEVER.has(id) && !succeeds(id))
    .map((id) => `${id}: ${answered(id).map(([status, n]) => `${status}×${n}`)}`);
  assert.deepEqual(never, []);

  const succeeded = new Set(outcomes.flatMap(({ succeeded }) => [...succeeded]));
  const { read, unanswered } = await unansweredCommits(target, from, succeeded);
  assert.ok(read > REQUESTS / 40, `only ${read} commits: hardly anything succeeded`);
  assert.deepEqual(unanswered, []);
});

const problem = (text: string) =>
  /^HTTP\/1\.1 4\d\d .*\r\n(.+\r\n)*content-type: application\/problem\+json\r\n/i.test(text);
const answers = (text: string) => [...text.matchAll(/HTTP\/1\.[01] \d\d\d /g)].length;

/** A second request stands where the body of the first is, or is not, by who reads it. */
function smuggling(): ReadonlyArray<string> {
  const token = target.world.tokens[0]!;
  const common = `Host: x\r\nAuthorization: Bearer ${token}\r\nContent-Type: application/json`;
  const inner = '{"type":"task","title":"Smuggled"}';
  const hidden = `POST /v1/organisations/${target.world.home}/work-items HTTP/1.1\r\n${common}\r\nContent-Length: ${inner.length}\r\n\r\n${inner}`;
  const post = (headers: string, body: string) =>
    `POST /v1/organisations/${target.world.home}/work-items HTTP/1.1\r\n${common}\r\n${headers}\r\n\r\n${body}`;
  const chunk = `0\r\n\r\n${hidden}`;
  return [
    post(`Content-Length: ${chunk.length}\r\nTransfer-Encoding: chunked`, chunk),
    post("Transfer-Encoding: chunked\r\nContent-Length: 4", chunk),
    post(`Content-Length: 0\r\nContent-Length: ${hidden.length}`, hidden),
    post(`Content-Length: 0, ${hidden.length}`, hidden),
    ...["+0", "-1", "0x0", "0 0", "1e1", "", "99999999999999999999999"].map((n) =>
      post(`Content-Length: ${n}`, hidden),
    ),
    post("Transfer-Encoding: xchunked", chunk),
    post("Transfer-Encoding: xchunked", chunk).replace(token, "mrt_unknown"),
    post("Transfer-Encoding: chunked", `x\r\n${chunk}`).replace(token, "mrt_unknown"),
    post("Transfer-Encoding: chunked, identity", chunk),
    post("Transfer-Encoding: \x0bchunked", chunk),
    post("Transfer-Encoding : chunked", chunk),
    post("Transfer-Encoding:\r\n chunked", chunk),
    post("X: y\nTransfer-Encoding: chunked", chunk),
    post("X: \rTransfer-Encoding: chunked", chunk),
    ...["-1", "0x1", "FFFFFFFFFFFFFFFFF1", "g", "", "1 1"].map((n) =>
      post("Transfer-Encoding: chunked", `${n}\r\n${chunk}`),
    ),
    post("Transfer-Encoding: chunked", `1\r\nab\r\n${chunk}`),
    post("a b: c", hidden),
    post("no colon", hidden),
    post("X\0: y", hidden),
    post("X: a\0b", hidden),
    post(`X: ${"y".repeat(20_000)}`, hidden),
    `GET /v1/whoami HTTP/1.1\r\n\r\n${hidden}`,
    `GET /v1/whoami\r\n\r\n${hidden}`,
    `GET /v1/whoami HTTP/9.9\r\n${common}\r\n\r\n${hidden}`,
    `GET  /v1/whoami HTTP/1.1 x\r\n${common}\r\n\r\n${hidden}`,
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    `CONNECT x:80 HTTP/1.1\r\n${common}\r\n\r\n${hidden}`,
    "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
  ];
}

test("two requests in one: refused once, as a problem, and the connection ends", async () => {
  const from = await heads(target);
  const shapes = smuggling();
  for (const shape of shapes) {
    const { text, ended } = await talk(target.port, Buffer.from(shape, "latin1"), 5_000);
    const told = JSON.stringify(shape.slice(0, 400));
    assert.ok(ended && answers(text) === 1 && problem(text), `${told}: ended ${ended}, ${text.slice(0, 500)}`);
  }
  assert.deepEqual((await unansweredCommits(target, from, new Set())).unanswered, []);
});

test("half a request is answered with a problem or not at all, and its connection ends", async () => {
  const head = "POST /v1/organisations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
  const owner = `Authorization: Bearer ${target.world.tokens[0]}\r\n`;
  const halves = [
    ...["G", "GET / HT", head, `${head}X: `, `${head}${owner}Content-Length: 100\r\n\r\n{"name"`],
    ...[
      `${head}${owner}Transfer-Encoding: chunked\r\n\r\n`,
      `${head}${owner}Transfer-Encoding: chunked\r\n\r\n5\r\n{"n`,
    ],
    `GET /v1/whoami HTTP/1.1\r\nHost: x\r\n${owner}\r\nGET /v1/who`,
  ];
  const ends = await Promise.all(halves.map((half) => talk(target.port, half, 50_000)));
  for (const [i, { text, ended }] of ends.entries()) {
    const last = text.slice(text.lastIndexOf("HTTP/1.1"));
    assert.ok(ended && (text === "" || problem(last)), `${JSON.stringify(halves[i])}: ended ${ended}, ${text}`);
  }
  assert.ok(target.isAlive());
});

test("what a client would also like to speak is passed over", async () => {
  const request = (more: string) =>
    `GET /v1/whoami HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${target.world.tokens[0]}\r\nConnection: close\r\n${more}\r\n\r\n`;
  for (const more of ["Upgrade: h2c", "Upgrade: TLS/1.0", "Expect: 200-ok", "Connection: x, y", "TE: trailers"]) {
    assert.match((await talk(target.port, request(more), 5_000)).text, /^HTTP\/1\.1 200 /, more);
  }
});

test.run();
