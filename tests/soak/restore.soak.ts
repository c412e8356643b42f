/**
 * The restore drill: an installation under load over all contexts, backed up to a bucket again and again, killed and destroyed, restored
 * elsewhere. Every message is what it was, every view and every secret, and nothing that was acknowledged before is missing.
 */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { cpSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { decodePosition } from "@millrace/contracts/position.ts";
import { lastRunState } from "@millrace/local/run-state.ts";
import pg from "pg";
import { type Mill, testMill } from "../harness/mill.ts";
import { startS3 } from "../harness/s3.ts";
import { testFolder } from "../harness/servers.ts";
import { suite } from "../harness/suite.ts";

const test = suite("the restore drill", { timeoutMs: 1_800_000 });
const LOAD_MS = Number(process.env.SOAK_LOAD_MS ?? 60_000);
const CADDY = "/nowhere";

interface Written {
  readonly path: string;
  readonly context: string;
  readonly seq: number;
  readonly version: number;
}

interface Api {
  readonly url: string;
  readonly token: string;
}

async function call({ url, token }: Api, method: string, path: string, body?: unknown) {
  const answer = await fetch(url + path, {
    method,
    headers: {
      authorization: `Bearer ${token}`,
      "content-type": "application/json",
      "idempotency-key": randomBytes(12).toString("hex"),
      "if-match": "*",
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await answer.text();
  return { status: answer.status, headers: answer.headers, body: text === "" ? undefined : JSON.parse(text) };
}

function apiOf(data: string): Api {
  const { url, ownerTokenFile } = lastRunState(data)!.facts as { url: string; ownerTokenFile: string };
  return { url, token: readFileSync(ownerTokenFile, "utf8").trim() };
}

/** Writes until it is told to stop; what was acknowledged, with its place. */
async function load(api: Api, written: Written[], over: () => boolean): Promise<void> {
  const home = "/v1/organisations/home";
  const note = async (context: string, path: string, answer: Awaited<ReturnType<typeof call>>) => {
    if (answer.status >= 400) {
      assert.ok([429, 503].includes(answer.status), JSON.stringify(answer.body));
      return new Promise<void>((later) => setTimeout(later, 200));
    }
    const place = decodePosition(answer.headers.get("millrace-position") ?? "")?.[context];
    const version = Number(answer.headers.get("millrace-version") ?? 1);
    if (place !== undefined) written.push({ path, context, seq: place.seq, version });
  };
  for (let i = 0; !over(); i++) {
    const name = randomBytes(8).toString("hex");
    const item = await call(api, "POST", `${home}/work-items`, { type: "task", title: `Item ${name}` });
    await note("work", `${home}/work-items/${item.body.id}`, item);
    const comment = await call(api, "POST", `${home}/work-items/${item.body.id}/comments`, { text: `Comment ${i}` });
    await note("work", `${home}/work-items/${item.body.id}`, comment);
    const secret = await call(api, "POST", `${home}/secrets`, { name: `s-${name}`, value: `value of ${name}` });
    await note("identity", `${home}/secrets/${secret.body.id}`, secret);
    if (i % 10 === 0) {
      const source = { kind: "git", url: "https://git.example.org/site.git" };
      const app = await call(api, "POST", `${home}/applications`, {
        name: `a-${name}`,
        source,
        build: { kind: "static" },
      });
      assert.equal(app.status, 201, JSON.stringify(app.body));
      await note("applications", `${home}/applications/${app.body.id}`, app);
    }
  }
}

/** Every row of every view. */
async function viewsOf(mill: Mill, data: string): Promise<Map<string, string>> {
  const port = lastRunState(data)!.services.find(({ name }) => name === "postgres")!.ports.postgres;
  const password = readFileSync(join(data, "secrets", "postgres.password"), "utf8").trim();
  const client = new pg.Client({ connectionString: `postgres://millrace:${password}@127.0.0.1:${port}/millrace` });
  await client.connect();
  try {
    await settled(mill);
    const { rows } = await client.query(
      "SELECT table_name AS name FROM information_schema.views WHERE table_schema = 'v'",
    );
    const views = new Map<string, string>();
    for (const { name } of rows as { name: string }[]) {
      const found = await client.query(`SELECT to_jsonb(r)::text AS row FROM v."${name}" AS r`);
      views.set(
        name,
        found.rows
          .map(({ row }) => row as string)
          .sort()
          .join("\n"),
      );
    }
    return views;
  } finally {
    await client.end();
  }
}

/** Until every view that is shown has all of the log. */
async function settled(mill: Mill): Promise<void> {
  for (let since = 0; since < 3; ) {
    const { items } = JSON.parse(await mill.out(["projections", "list", "-o", "json"])) as {
      items?: { lag: number }[];
    };
    const all = items ?? (JSON.parse(await mill.out(["projections", "list", "-o", "json"])) as { lag: number }[]);
    since = all.every(({ lag }) => lag === 0) ? since + 1 : 0;
    await new Promise((later) => setTimeout(later, 300));
  }
}

test("backed up under load, destroyed, restored: whole, and to a moment", async (context) => {
  const s3 = await startS3("backups");
  const target = {
    MILLRACE_BACKUP_TARGET: `s3://backups/drill?endpoint=${s3.url}&region=test-region-1`,
    MILLRACE_BACKUP_S3_ACCESS_KEY: s3.accessKey,
    MILLRACE_BACKUP_S3_SECRET_KEY: s3.secretKey,
    MILLRACE_CADDY: CADDY,
  };
  const mill = testMill(context, target);
  const up = await mill.up();
  const api = apiOf(mill.data);
  const written: Written[] = [];
  let over = false;
  const writers = [1, 2, 3].map(() => load(api, written, () => over));
  const until = Date.now() + LOAD_MS;
  let moment: { time: string; before: number } | undefined;
  while (Date.now() < until) {
    const before = written.length;
    await mill.out(["backup", "run", "--wait"]);
    const { last } = JSON.parse(await mill.out(["backup", "status", "-o", "json"]));
    for (const { context: of, seq } of written.slice(0, before))
      assert.ok(last.position[of] >= seq, `${of} ${seq} is not in ${JSON.stringify(last.position)}`);
    moment ??= { time: last.at, before };
  }
  over = true;
  await Promise.all(writers);
  const views = await viewsOf(mill, mill.data);
  await mill.out(["backup", "run", "--wait"]);
  console.log(`${written.length} acknowledged changes, ${s3.buckets.get("backups")!.size} objects at the target`);
  const secrets = testFolder("secrets");
  cpSync(join(mill.data, "secrets"), secrets, { recursive: true });
  up.child.kill("SIGKILL");
  await up.ended;
  await mill.run(["down"]);
  rmSync(mill.data, { recursive: true, force: true });

  const intoEmpty = async (args: string[]): Promise<Mill> => {
    const data = join(testFolder("restored"), "data");
    const restored = testMill(context, {
      ...target,
      MILLRACE_DATA: data,
      MILLRACE_BACKUP_TARGET: target.MILLRACE_BACKUP_TARGET,
    });
    mkdirSync(join(data, "secrets"), { recursive: true, mode: 0o700 });
    for (const name of ["master.key", "backup.key", "owner.token"])
      cpSync(join(secrets, name), join(data, "secrets", name));
    console.log((await restored.out(["backup", "drill", ...args])).trim());
    await restored.out(["backup", "restore", ...args]);
    const running = await restored.up();
    context.defer(() => running.child.kill("SIGTERM"));
    return Object.assign(restored, { data });
  };
  const whole = await intoEmpty([]);
  const there = apiOf(whole.data);
  for (const { path, version } of written) {
    const { status, headers } = await call(there, "GET", path);
    assert.equal(status, 200, path);
    assert.ok(Number(headers.get("millrace-version")) >= version, path);
  }
  const again = await viewsOf(whole, whole.data);
  for (const [name, rows] of views) assert.equal(again.get(name) === rows, true, `the view ${name} differs`);
  const earlier = apiOf((await intoEmpty(["--at", moment!.time])).data);
  for (const { path } of written.slice(0, moment!.before))
    assert.equal((await call(earlier, "GET", path)).status, 200, path);
  const last = written.at(-1)!;
  assert.equal((await call(earlier, "GET", last.path)).status, 404, "what came later is not there");
});

test.run();
