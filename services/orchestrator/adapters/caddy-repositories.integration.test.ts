/** A real Caddy before the files of repositories: what of them it gives, to whom, and how long it may be kept. */
import assert from "node:assert/strict";
import { mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer, type IncomingHttpHeaders, request } from "node:http";
import type { AddressInfo } from "node:net";
import { dirname, join } from "node:path";
import { ACCESS_HEADER, ACCESS_PATH, servedPlaces } from "@millrace/eventlog/served.ts";
import { findCaddy } from "../../../local/binaries.ts";
import { startCaddy } from "../../../local/caddy.ts";
import { eventually } from "../../../tests/harness/eventually.ts";
import { testFolder } from "../../../tests/harness/servers.ts";
import { suite } from "../../../tests/harness/suite.ts";
import { loadCaddy, renderCaddy } from "./caddy.ts";
import { nodeDisk } from "./disk.ts";

const test = suite("proxy of repositories", { timeoutMs: 60_000 });

const ONE = "rep_01kajzq4v0e8r9t2m5x7c3d6fa";
const TWO = "rep_01kajzq4v0e8r9t2m5x7c3d6fb";
const OBJECT = "ab".repeat(31);
const DELTA = "A".repeat(41);

test("each class of paths as it is to be kept; private ones by the word of the gateway; nothing else", async ({
  skip,
  defer,
}) => {
  const found = await findCaddy({ bring: true });
  if (found.path === undefined) skip(found.why);
  const root = testFolder("repositories");
  const places = servedPlaces(join(root, ".millrace"), "n1");
  const folderOf = (id: string) => join(places.folder, "..", "repositories", id);
  const put = (id: string, path: string, content = path) => {
    mkdirSync(dirname(join(folderOf(id), path)), { recursive: true });
    writeFileSync(join(folderOf(id), path), content);
  };
  for (const id of [ONE, TWO]) {
    put(id, "repo/config", `config of ${id}`);
    put(id, `repo/objects/cd/${OBJECT}.filez`, "0123456789");
    put(id, `repo/.millrace/quarantine/ef/${OBJECT}.dirtree`);
    put(id, `repo/.millrace/deltas/AB/${DELTA}/superblock`);
    put(id, `repo/delta-indexes/AB/${DELTA}.index`);
    put(id, "repo/summary.idx", "now");
    put(id, "repo/.millrace/leases/b1");
    put(id, "snapshots/7/summary.idx", "then");
    put(id, "web/stable.flatpakrepo");
    put(id, "web/index.html", "<!doctype html>");
    put(id, "web/org.test.App.flatpakref");
  }
  mkdirSync(places.public, { recursive: true });
  mkdirSync(places.private, { recursive: true });
  symlinkSync(`../../repositories/${ONE}`, join(places.public, "stable"));
  symlinkSync(`../../repositories/${ONE}`, join(places.public, ONE));
  symlinkSync(`../../repositories/${TWO}`, join(places.private, TWO));
  const asked: [string | undefined, string | undefined][] = [];
  const gateway = createServer(({ headers, url, method }, answer) => {
    asked.push([headers["x-forwarded-uri"] as string, headers.authorization]);
    assert.deepEqual([method, url], ["GET", ACCESS_PATH]);
    if (headers.authorization === undefined) {
      answer.writeHead(401, { "www-authenticate": 'Basic realm="Millrace"', "content-type": "text/plain" });
      answer.end("who are you?");
    } else answer.writeHead(204, { [ACCESS_HEADER]: TWO }).end();
  });
  await new Promise<void>((resolve) => gateway.listen(0, "127.0.0.1", resolve));
  defer(() => gateway.closeAllConnections());
  defer(() => gateway.close());
  const caddy = await startCaddy({ dataDir: join(root, "caddy") });
  defer(() => caddy.stop());
  const { admin, address: listen, storage } = caddy;
  const node = { disk: nodeDisk(join(root, ".millrace"), "n1"), listen, admin, storage, tls: "off" } as const;
  const serving = { places, gateway: `127.0.0.1:${(gateway.address() as AddressInfo).port}` };
  const loaded = await loadCaddy(admin, renderCaddy([], { ...node, repositories: serving }));
  assert.deepEqual(loaded, { changed: true });

  interface Answer {
    readonly status: number;
    readonly headers: IncomingHttpHeaders;
    readonly body: string;
  }
  const ask = (path: string, headers: Record<string, string> = {}, method = "GET"): Promise<Answer> =>
    new Promise((resolve, reject) => {
      const sent = request({ host: "127.0.0.1", port: caddy.port, path, headers, method, agent: false }, (answer) => {
        let body = "";
        answer.on("data", (piece: Buffer) => {
          body += piece.toString();
        });
        answer.on("end", () => resolve({ status: answer.statusCode!, headers: answer.headers, body }));
      });
      sent.once("error", reject);
      sent.end();
    });
  const shown = async (path: string, headers?: Record<string, string>, method?: string) => {
    const { status, headers: of, body } = await ask(path, headers, method);
    return [status, of["cache-control"], of["content-type"], body];
  };
  const object = `/repo/stable/objects/cd/${OBJECT}.filez`;
  const forGood = "public, max-age=31536000, immutable";
  const binary = "application/octet-stream";

  // What is just opening when a configuration is loaded may be closed (docs/decisions/0085-what-a-load-of-caddy-costs.md).
  await eventually(() => ask(object).catch(() => undefined), "it serves");
  assert.deepEqual(await shown(object), [200, forGood, binary, "0123456789"]);
  const { headers } = await ask(object);
  assert.deepEqual([headers.etag, headers["content-length"]], [`"cd${OBJECT}.filez"`, "10"]);
  assert.deepEqual(await shown(object, { "accept-encoding": "gzip, br, zstd" }), [200, forGood, binary, "0123456789"]);
  assert.deepEqual((await shown(object, { "if-none-match": `"cd${OBJECT}.filez"` }))[0], 304);
  const range = await ask(object, { range: "bytes=2-4" });
  assert.deepEqual([range.status, range.body, range.headers["content-range"]], [206, "234", "bytes 2-4/10"]);
  assert.equal((await ask(object, { range: "bytes=99-" })).status, 416);
  const head = await ask(object, {}, "HEAD");
  assert.deepEqual([head.status, head.body, head.headers["content-length"]], [200, "", "10"]);
  assert.equal((await ask(object, {}, "POST")).status, 405);

  assert.equal((await shown(`/repo/stable/objects/ef/${OBJECT}.dirtree`))[0], 200);
  const day = "public, max-age=86400";
  const delta = `deltas/AB/${DELTA}/superblock`;
  assert.deepEqual(await shown(`/repo/stable/${delta}`), [200, day, binary, `repo/.millrace/${delta}`]);
  assert.deepEqual((await shown(`/repo/${ONE}/summary.idx`)).slice(0, 4), [200, "no-cache", binary, "now"]);
  const idx = await ask("/repo/stable/summary.idx");
  assert.equal((await ask("/repo/stable/summary.idx", { "if-none-match": idx.headers.etag! })).status, 304);
  assert.deepEqual((await shown("/repo/stable@7/summary.idx"))[3], "then");
  assert.equal((await shown("/repo/stable@8/summary.idx"))[0], 404);
  assert.equal((await shown("/repo/stable/stable.flatpakrepo"))[2], "application/vnd.flatpak.repo");
  assert.equal((await shown("/repo/stable/appstream/org.test.App.flatpakref"))[2], "application/vnd.flatpak.ref");
  assert.deepEqual(await shown("/repo/stable/"), [200, "no-cache", "text/html; charset=utf-8", "<!doctype html>"]);
  const bare = await ask("/repo/stable");
  assert.deepEqual([bare.status, bare.headers.location], [308, "/repo/stable/"]);
  for (const path of [
    "/repo/stable/.millrace/leases/b1",
    "/repo/stable/repo/config",
    "/repo/stable/../../etc/passwd",
    "/repo/stable/%2e%2e/%2e%2e/x",
    "/repo/stable/objects/cd/x.filez",
    `/repo/stable/objects/cd/..%2f..%2f${OBJECT}.filez`,
    `/repo/%2e%2e/objects/cd/${OBJECT}.filez`,
    `/repo/${TWO}/objects/cd/${OBJECT}.filez`,
    "/repo/stable/web/index.html",
    `/repo/stable/delta-indexes/AC/${DELTA}.index`,
  ]) {
    const { status, headers: of } = await ask(path);
    assert.notEqual(status, 200, path);
    assert.match(of["cache-control"] ?? "no-store", /^no-/, path);
  }
  assert.equal((await ask("/elsewhere")).status, 404);
  assert.deepEqual(asked.length > 0 ? asked.filter(([uri]) => uri?.startsWith("/repo/stable")) : [], []);

  const no = await ask("/repo/other/config");
  assert.deepEqual(
    [no.status, no.headers["www-authenticate"], no.body],
    [401, 'Basic realm="Millrace"', "who are you?"],
  );
  const credentials = { authorization: "Basic dXNlcjpzZWNyZXQ=" };
  const yes = await shown(`/repo/other/objects/cd/${OBJECT}.filez`, { ...credentials, range: "bytes=0-3" });
  assert.deepEqual(yes, [206, "private, max-age=31536000, immutable", binary, "0123"]);
  assert.deepEqual(asked.at(-1), [`/repo/other/objects/cd/${OBJECT}.filez`, credentials.authorization]);
  assert.equal((await shown("/repo/other/config", credentials))[3], `config of ${TWO}`);

  const index = `delta-indexes/AB/${DELTA}.index`;
  await ask(`/repo/stable/${index}`, { "flatpak-ref": "app/org.test.App/x86_64/stable" });
  await ask(`/repo/other/${index}`, { ...credentials, "flatpak-ref": "app/org.test.App/x86_64/stable" });
  const lines = await eventually(async () => {
    const text = readFileSync(places.accessLog, "utf8");
    const found = text.split("\n").filter((line) => line.includes("Flatpak-Ref"));
    return found.length === 2 ? text : undefined;
  }, "two lines are in the access log");
  const [first, ...others] = lines
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as { repository?: string; request: { uri: string }; status: number });
  assert.match(first!.request.uri, /delta-indexes/);
  assert.deepEqual([others.at(-1)!.repository, others.at(-1)!.status, others.length], [TWO, 200, 2]);
  assert.doesNotMatch(lines, /dXNlc|remote_ip|uthorization/);

  rmSync(join(places.public, "stable"));
  assert.equal((await ask("/repo/stable/config")).status, 401);
  gateway.closeAllConnections();
  await new Promise((resolve) => gateway.close(resolve));
  assert.equal((await ask("/repo/other/config", credentials)).status, 503);
});

test.run();
