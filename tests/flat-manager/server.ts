/** A gateway with a configuration of flat-manager, its tokens, and a publisher where one is asked for; ended with the file. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Claims } from "@millrace/gateway/flat-manager/claims.ts";
import { signJwt } from "@millrace/gateway/flat-manager/jwt.ts";
import { Repository } from "@millrace/publisher/adapters/ostree/repository.ts";
import { eventually } from "../harness/eventually.ts";
import { callerOf, testGateway, testProjector } from "../harness/gateway.ts";
import { testMill } from "../harness/mill.ts";
import { spawnPublisher } from "../harness/publisher.ts";
import { type TestPublishing, testPublishing } from "../harness/publishing.ts";
import { testFolder, testNats } from "../harness/servers.ts";
import { deferToEndOfFile } from "../harness/suite.ts";
import { type Dialect, FlatClient } from "./client.ts";

export type FlatServer = Awaited<ReturnType<typeof flatServer>>;

/** With the repositories `stable` and `Beta_1` of the file, and `unlisted`, which it does not name. */
export async function flatServer() {
  const secret = randomBytes(32);
  const config = {
    secret: secret.toString("base64"),
    "token-prefix": "fm_",
    repos: { stable: { path: "repo", subsets: {} }, Beta_1: { path: "beta", subsets: {} } },
  };
  const nats = await testNats();
  const started = await testGateway({
    natsUrl: nats.url,
    natsUser: nats.user,
    natsPassword: nats.pass,
    flatManagerConfig: JSON.stringify(config),
  });
  await testProjector(started.config);
  const { expect } = callerOf(started);
  const data = testFolder("publisher");
  // As its operators would: what the file names is made from it.
  const file = join(data, "config.json");
  writeFileSync(file, JSON.stringify({ ...config, "delay-update-secs": 10 }));
  const own = { MILLRACE_URL: started.url, MILLRACE_TOKEN: started.owner, MILLRACE_ORG: "home" };
  const mill = testMill({ defer: deferToEndOfFile }, own);
  const imported = await mill.run(["repos", "import-flat-manager", file, "-o", "json"]);
  assert.equal(imported.code, 0, imported.err);
  const outcomes = [
    { repo: "stable", repository: "stable", outcome: "created" },
    { repo: "Beta_1", repository: "beta-1", outcome: "created" },
  ];
  assert.deepEqual(JSON.parse(imported.out), outcomes);
  assert.match(imported.err, /^Not taken over: delay-update-secs: /m);
  assert.match(await mill.out(["repos", "import-flat-manager", file]), /beta-1 +there already/);
  assert.ok(!`${imported.out}${imported.err}`.includes(config.secret));
  await expect(201, "POST", "/repositories", { body: { name: "unlisted" } });

  const now = () => Math.floor(Date.now() / 1_000);
  const token = (claims: Partial<Claims> = {}): string =>
    signJwt(secret, {
      sub: "build",
      exp: now() + 3_600,
      name: "ci",
      scope: ["build", "upload", "download", "publish", "jobs", "republish"],
      prefixes: [""],
      apps: [],
      repos: [""],
      ...claims,
    });
  const clientOf = (dialect: Dialect, given = `fm_${token()}`): FlatClient => {
    const client = new FlatClient(started.url, given, dialect);
    deferToEndOfFile(() => client.close());
    return client;
  };

  let publisher: ReturnType<typeof spawnPublisher> | undefined;
  /** The tools; the publisher starts with the first who asks for them. */
  const publishing = async (context: Parameters<typeof testPublishing>[0]): Promise<TestPublishing> => {
    const made = await testPublishing(context);
    const env = { MILLRACE_PUBLISHING_TOOLS: JSON.stringify(made.programs.env) };
    publisher ??= spawnPublisher(started.config, data, env);
    return made;
  };
  const mainOf = (name: string): Promise<Repository> =>
    eventually(
      async () => {
        const { body } = await expect(200, "GET", `/repositories/${name}`);
        if (body.status.state !== "ready") return undefined;
        return Repository.open(join(data, "publisher/local/repositories", body.id, "repo"));
      },
      `${name} is ready: ${publisher?.said()}`,
      60_000,
    );
  return { started, expect, token, clientOf, now, publishing, mainOf };
}
