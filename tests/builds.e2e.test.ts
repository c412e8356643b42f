/** Builds from HTTP to what clients see: pushed, committed, published, reviewed, purged; refused where something is wrong. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { Repository } from "@millrace/publisher/adapters/ostree/repository.ts";
import { published } from "@millrace/publisher/adapters/ostree/summary.ts";
import { eventually } from "./harness/eventually.ts";
import { callerOf, testGateway, testProjector } from "./harness/gateway.ts";
import { BOUNDARY, bodyOfObjects, type Developed, develop, namesOf, spawnPublisher } from "./harness/publisher.ts";
import { testPublishing } from "./harness/publishing.ts";
import { testFolder, testNats } from "./harness/servers.ts";
import { suite } from "./harness/suite.ts";

const test = suite("builds from HTTP to clients", { timeoutMs: 240_000 });

const nats = await testNats();
const started = await testGateway({ natsUrl: nats.url, natsUser: nats.user, natsPassword: nats.pass });
await testProjector(started.config);
const { expect, call } = callerOf(started);
const data = testFolder("publisher");

const until = (path: string, holds: (status: any) => boolean, said: () => string): Promise<any> =>
  eventually(
    async () => {
      const { body } = await expect(200, "GET", path);
      return holds(body.status) ? body : undefined;
    },
    `${path} is as wanted: ${said()}`,
    60_000,
  );

const upload = (number: number, dev: Developed, names: ReadonlyArray<string>) =>
  call("PUT", `/builds/${number}/objects`, {
    body: new Uint8Array(bodyOfObjects(dev, names)),
    headers: { "content-type": `multipart/mixed; boundary=${BOUNDARY}` },
  });

test("pushed, committed, published, seen; then an update", async (context) => {
  const publishing = await testPublishing(context);
  const { said } = spawnPublisher(started.config, data, {
    MILLRACE_PUBLISHING_TOOLS: JSON.stringify(publishing.programs.env),
  });
  const { id: rep } = (await expect(201, "POST", "/repositories", { body: { name: "stable" } })).body;
  await until("/repositories/stable", ({ state }) => state === "ready", said);
  const main = await Repository.open(join(data, "publisher/local/repositories", rep, "repo"));
  const sent: number[] = [];
  for (const [index, version] of ["one", "two"].entries()) {
    const dev = await develop(publishing, version, index === 0 ? {} : { context: "[Context]\nshared=network;\n" });
    const body = { repository: "stable", appId: "org.test.Hello" };
    const { number } = (await expect(201, "POST", "/builds", { body })).body.status;
    assert.equal(number, index + 1);
    const names = await namesOf(dev);
    const refs = [{ ref: dev.ref, commit: dev.commit }];
    await expect(200, "POST", `/builds/${number}/refs`, { body: { refs } });
    const early = await expect(422, "POST", `/builds/${number}/commit`, { body: {} });
    assert.equal(early.body.rule, "missing-objects");
    assert.match(early.body.reason, new RegExp(`${dev.commit}.commit`));
    const asked = await expect(200, "POST", `/builds/${number}/missing-objects`, { body: { wanted: names } });
    const { missing } = asked.body;
    sent.push(missing.length);
    const stored = await upload(number, dev, missing);
    assert.equal(stored.status, 200, stored.text);
    assert.equal(stored.body.sizes.length, missing.length);
    await expect(202, "POST", `/builds/${number}/commit`, { body: {} });
    const ready = await until(`/builds/${number}`, ({ state }) => state === "ready", said);
    assert.match(ready.status.refs[0].committed, /^[0-9a-f]{64}$/);
    const { body: review } = await expect(200, "GET", `/builds/${number}/review`);
    assert.deepEqual(review.refs[0].permissions, { added: index === 0 ? [] : ["shared=network"], removed: [] });
    await expect(202, "POST", `/builds/${number}/publish`, { body: {} });
    const seen = await until(`/builds/${number}`, (status) => status.published === "published", said);
    assert.equal((await published(main))?.get(dev.ref), seen.status.refs[0].published);
    const after = await until(`/builds/${number}`, ({ deltas }) => deltas !== undefined, said);
    assert.deepEqual(after.status.deltas, { made: index + 1 });
    assert.ok(!existsSync(join(data, "publisher/local/repositories", rep, "builds", seen.id)));
  }
  assert.ok(sent[1]! < sent[0]!, "what is there was sent again");
  assert.equal(await publishing.fsck(main), undefined);
});

test.run();
