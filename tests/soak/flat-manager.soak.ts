/** Much at once by flat-manager's API: 150 MB in one request, in pieces of no size in particular; both clients push beside it. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { encodeDelta } from "@millrace/publisher/adapters/ostree/names.ts";
import { published } from "@millrace/publisher/adapters/ostree/summary.ts";
import type { Dialect } from "../flat-manager/client.ts";
import { flatServer } from "../flat-manager/server.ts";
import { develop } from "../harness/publisher.ts";
import { suite } from "../harness/suite.ts";

const test = suite("flat-manager's API, much of it", { timeoutMs: 1_200_000 });
const MB = 1024 * 1024;

test("a delta of 150 MB in one request of each client, and pushes meanwhile", async (context) => {
  const server = await flatServer();
  const publishing = await server.publishing(context);
  const main = await server.mainOf("stable");
  const content = randomBytes(150 * MB);
  const large = async (dialect: Dialect): Promise<void> => {
    const client = server.clientOf(dialect);
    const build = await client.create("stable", "org.test.Large");
    const name = encodeDelta({ from: undefined, to: randomBytes(32).toString("hex") });
    const sizes = await client.upload(build, [{ name: `${name}.0.delta`, content }], 65_537);
    assert.deepEqual(sizes, [content.length]);
    await client.expect(200, "POST", `/api/v1/build/${build}/purge`, {});
  };
  const pushes = async (dialect: Dialect): Promise<void> => {
    const client = server.clientOf(dialect);
    for (let round = 0; round < 5; round++) {
      const dev = await develop(publishing, `${dialect}-${round}`, { app: `org.test.Of${dialect}` });
      const build = await client.create("stable", `org.test.Of${dialect}`);
      await client.push(build, dev.from, new Map([[dev.ref, dev.commit]]));
      const committed = await client.commit(build);
      assert.equal(committed.status, 2, committed.log);
      const { job, update } = await client.publish(build);
      assert.deepEqual([job.status, update?.status], [2, 2], job.log);
      assert.equal((await published(main))?.get(dev.ref), job.results.refs[dev.ref]);
    }
  };
  await Promise.all([large("python"), pushes("rust"), pushes("python")]);
  await large("rust");
  assert.equal(await publishing.fsck(main), undefined);
});

test.run();
