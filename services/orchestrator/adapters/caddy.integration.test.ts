/** A real Caddy under load while routes and sites are switched, and what it answers to everything else. */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, request, type Server } from "node:http";
import { type RequestOptions, request as secure } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import { join } from "node:path";
import type { Outcome } from "@millrace/eventlog/outcome.ts";
import * as assert from "uvu/assert";
import { findCaddy } from "../../../local/binaries.ts";
import { type RunningCaddy, startCaddy } from "../../../local/caddy.ts";
import { testFolder } from "../../../tests/harness/servers.ts";
import { suite, type TestContext } from "../../../tests/harness/suite.ts";
import { type AppRoute, type CaddyNode, loadCaddy, renderCaddy } from "./caddy.ts";
import { type AppDisk, appDisk, nodeDisk } from "./disk.ts";
import { askOnce, load } from "./fixtures/load.ts";
import { materialiseStatic } from "./releases.ts";
import { revertRoute, setStopped, switchRoute } from "./routes.ts";

const test = suite("proxy", { timeoutMs: 120_000 });
const appOf = (digit: string) => `app_01kajzq4v0e8r9t2m5x7c3d6f${digit}`;
const dep = (number: number) => `dep_01kajzq4v0e8r9t2m5x7c3d${`${number}`.padStart(3, "0")}`;
const site: AppRoute = { id: appOf("a"), hosts: ["site.home.localhost"] };
const shop: AppRoute = { id: appOf("b"), hosts: ["shop.home.localhost", "shop.example.org"] };
const chat: AppRoute = { id: appOf("c"), hosts: ["chat.home.localhost"] };

function good<T extends object>(outcome: Outcome<T>): T {
  if ("failed" in outcome) throw new Error(JSON.stringify(outcome.failed));
  return outcome;
}

interface World {
  readonly caddy: RunningCaddy;
  readonly node: CaddyNode;
  app(route: AppRoute): AppDisk;
}

async function world({ skip, defer }: TestContext): Promise<World> {
  const found = await findCaddy({ bring: true });
  if (found.path === undefined) skip(found.why);
  const root = testFolder("proxy");
  const caddy = await startCaddy({ dataDir: join(root, "caddy") });
  defer(() => caddy.stop());
  // A hidden folder above, as the default data folder is.
  const disk = nodeDisk(join(root, ".millrace"), "n1");
  const { admin, address: listen, storage } = caddy;
  return { caddy, node: { disk, listen, admin, storage, tls: "off" }, app: (route) => appDisk(disk, route.id) };
}

/** A release with these files. */
async function release(app: AppDisk, files: Readonly<Record<string, string>>, previous?: string): Promise<string> {
  const source = testFolder("source");
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(join(source, name, ".."), { recursive: true });
    writeFileSync(join(source, name), content);
  }
  return good(await materialiseStatic(app, { source, folder: ".", ...(previous ? { previous } : {}) })).release;
}

/** An application that answers its name, and claims to be another deployment. */
async function instance(name: string): Promise<{ address: string; close(): Promise<void>; server: Server }> {
  const server = createServer(
    (_, answer) => void answer.writeHead(200, { "x-millrace-deployment": "dep_forged" }).end(name),
  );
  const sockets = new Set<Socket>();
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const close = () =>
    new Promise<void>((resolve) => {
      server.close(() => resolve());
      for (const socket of sockets) socket.destroy();
    });
  return { address: `127.0.0.1:${(server.address() as AddressInfo).port}`, close, server };
}

/** A connection that was upgraded to a WebSocket, as its bare bytes. */
function upgraded(port: number, host: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const headers = { host, connection: "Upgrade", upgrade: "websocket" };
    const sent = request({ host: "127.0.0.1", port, headers, agent: false });
    sent.once("upgrade", (_, socket) => resolve(socket as Socket));
    sent.once("response", ({ statusCode }) => reject(new Error(`it answered ${statusCode}`)));
    sent.once("error", reject);
    sent.end();
  });
}

test("the same applications render the same, whatever their order; what is no host is left out", () => {
  const disk = nodeDisk("/data", "n1");
  const node = { disk, listen: "127.0.0.1:1", admin: "unix//a", storage: "/s", tls: "off" } as const;
  const wrong = { id: appOf("d"), hosts: ["a b", "*.x", "{env.HOME}", "x:80"] };
  assert.equal(
    renderCaddy([site, shop, wrong], node),
    renderCaddy([{ ...shop, hosts: [...shop.hosts].reverse() }, site], node),
  );
  assert.not.match(JSON.stringify(renderCaddy([site, shop], node)), /certificates"/);
  const tls = renderCaddy([site, shop], { ...node, tls: "auto", listenTls: "127.0.0.1:2" }) as {
    apps: { tls: { certificates: object } };
  };
  assert.equal(tls.apps.tls.certificates, {
    automate: ["shop.example.org"].filter((host) => !host.endsWith(".example")),
  });
});

test("loaded only when it differs; what others changed is put right; after SIGKILL it is all there", async (context) => {
  const { caddy, node } = await world(context);
  const config = renderCaddy([site, shop], node);
  assert.equal(await loadCaddy(node.admin, config), { changed: true });
  assert.equal(await loadCaddy(node.admin, config), { changed: false });
  const tries = await Promise.all(
    [1, 2, 3, 4].map((number) => loadCaddy(node.admin, renderCaddy(number % 2 ? [site] : [site, chat], node))),
  );
  for (const outcome of tries) good(outcome);
  assert.equal(await loadCaddy(node.admin, config), { changed: true });
  await caddy.kill();
  const away = await loadCaddy(node.admin, config);
  assert.ok("failed" in away && away.failed.code === "CADDY_AWAY" && away.failed.class === "transient");
  const again = await caddy.restart();
  context.defer(() => again.stop());
  assert.equal(await loadCaddy(node.admin, config), { changed: false });
  const refused = await loadCaddy(node.admin, { ...config, apps: { nonsense: {} } });
  assert.ok("failed" in refused && refused.failed.code === "CADDY_REFUSED");
  assert.equal(await loadCaddy(node.admin, config), { changed: false });
});

test("unknown, not deployed, stopped, gone: each says so without a load", async (context) => {
  const { caddy, node, app } = await world(context);
  good(await loadCaddy(node.admin, renderCaddy([shop], node)));
  const say = async (host = shop.hosts[0]!) => {
    const { status, body } = await askOnce(caddy.port, host, "/");
    return `${status} ${body.trim()}`;
  };
  assert.is(await say("other.localhost"), "404 No application is reachable under this name.");
  assert.is(await say(), "503 This application has not been deployed yet.");
  const one = await instance("one");
  context.defer(one.close);
  good(await switchRoute(app(shop), { generation: 1, deployment: dep(1), target: { addresses: [one.address] } }));
  const heard = await askOnce(caddy.port, "shop.example.org", "/");
  assert.equal([heard.status, heard.body, heard.headers["x-millrace-deployment"]], [200, "one", dep(1)]);
  good(await setStopped(app(shop), true));
  assert.is(await say(), "503 This application is stopped.");
  good(await setStopped(app(shop), false));
  assert.is(await say(), "200 one");
  await one.close();
  assert.match(await say(), /^502/);
  good(await revertRoute(app(shop), { generation: 1, to: null }));
  assert.is(await say(), "503 This application has not been deployed yet.");
  assert.equal(await loadCaddy(node.admin, renderCaddy([shop], node)), { changed: false });
});

test("a site: index, hidden files, what is not there, single-page, names with signs, caching", async (context) => {
  const { caddy, node, app } = await world(context);
  good(await loadCaddy(node.admin, renderCaddy([site], node)));
  const disk = app(site);
  const files = {
    "index.html": "home",
    "sub/index.html": "sub",
    "404.html": "lost",
    "[id].html": "id",
    "a b.txt": "blank",
    "app.3f2a9c1d.js": "js",
    ".well-known/x": "known",
    ".env": "secret",
  };
  const first = await release(disk, files);
  const hidden = join(disk.releases, first, "files", ".env");
  writeFileSync(hidden, "secret"); // even if one came to be there
  good(await switchRoute(disk, { generation: 1, deployment: dep(1), target: { release: first } }));
  const get = (path: string, more: Record<string, string> = {}) =>
    askOnce(caddy.port, site.hosts[0]!, path, undefined, more);
  const brief = async (path: string) => {
    const { status, body } = await get(path);
    return `${status} ${body}`;
  };
  const expected = {
    "/": "200 home",
    "/sub/": "200 sub",
    "/%5Bid%5D.html": "200 id",
    "/a%20b.txt": "200 blank",
    "/.well-known/x": "200 known",
    "/.env": "404 lost",
    "/%2eenv": "404 lost",
    "/nope": "404 lost",
    "/../../manifest.json": "404 lost",
    "/..%2f..%2fmanifest.json": "404 lost",
  };
  for (const [path, answer] of Object.entries(expected)) assert.is(await brief(path), answer, path);
  assert.is((await get("/sub")).status, 308);
  assert.is((await get("/")).headers["cache-control"], "no-cache");
  assert.is((await get("/app.3f2a9c1d.js")).headers["cache-control"], "public, max-age=31536000, immutable");
  assert.is.not((await get("/gone.3f2a9c1d.js")).headers["cache-control"], "public, max-age=31536000, immutable");
  const etag = String((await get("/")).headers.etag);
  assert.is((await get("/", { "if-none-match": etag })).status, 304);
  rmSync(hidden);

  // The same size, another content: never 304. The same content: still 304.
  const second = await release(disk, { ...files, "index.html": "HOME" }, first);
  const sub = String((await get("/sub/")).headers.etag);
  good(
    await switchRoute(disk, {
      generation: 2,
      deployment: dep(2),
      target: { release: second, spa: true, index: "index.html" },
    }),
  );
  assert.is((await get("/", { "if-none-match": etag })).body, "HOME");
  assert.is((await get("/sub/", { "if-none-match": sub })).status, 304);
  assert.is(await brief("/deep/link"), "200 HOME");
  assert.is(await brief("/.env"), "404 lost");
  const third = await release(disk, { "start.htm": "s", "errors/gone.html": "gone" });
  good(
    await switchRoute(disk, {
      generation: 3,
      deployment: dep(3),
      target: { release: third, index: "start.htm", notFound: "errors/gone.html" },
    }),
  );
  assert.equal([await brief("/"), await brief("/x")], ["200 s", "404 gone"]);
  const fourth = await release(disk, { "a.txt": "a" });
  good(await switchRoute(disk, { generation: 4, deployment: dep(4), target: { release: fourth } }));
  assert.equal([await brief("/a.txt"), await brief("/x")], ["200 a", "404 404 Not Found\n"]);
});

test("thirty switches of a site under load: no request fails, and the header tells no untruth", async (context) => {
  const { caddy, node, app } = await world(context);
  good(await loadCaddy(node.admin, renderCaddy([site], node)));
  const disk = app(site);
  const releases = [await release(disk, { "index.html": "even" }), await release(disk, { "index.html": "odd!" })];
  const target = (generation: number) => ({
    generation,
    deployment: dep(generation),
    target: { release: releases[generation % 2]! },
  });
  good(await switchRoute(disk, target(0 + 2)));
  let generation = 2;
  let claimed = "";
  const running = load(caddy.port, site.hosts[0]!, 4, ({ body }) => {
    claimed = body;
    return body === "even" || body === "odd!" ? undefined : `odd body ${body}`;
  });
  for (; generation < 32; generation++) {
    const next = target(generation + 1);
    good(await switchRoute(disk, next));
    const heard = await askOnce(caddy.port, site.hosts[0]!, "/");
    const body = next.generation % 2 ? "odd!" : "even";
    assert.equal([heard.status, heard.headers["x-millrace-deployment"], heard.body], [200, next.deployment, body]);
  }
  await running.stop();
  assert.ok(claimed !== "" && running.answered() > 100, `${running.answered()} requests`);
  assert.ok(running.by.size > 10, `${running.by.size} deployments answered`);
  assert.equal(running.failures, []);
});

test("eight switches of a route under load, instances ended after each: no request fails; another's WebSockets live on", async (context) => {
  const { caddy, node, app } = await world(context);
  good(await loadCaddy(node.admin, renderCaddy([shop, chat], node)));
  const talk = await instance("chat");
  context.defer(talk.close);
  talk.server.on("upgrade", (_, socket) => {
    socket.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
    socket.pipe(socket).on("error", () => {});
  });
  good(await switchRoute(app(chat), { generation: 1, deployment: dep(1), target: { addresses: [talk.address] } }));
  const open = await Promise.all(Array.from({ length: 10 }, () => upgraded(caddy.port, chat.hosts[0]!)));
  for (const socket of open) context.defer(() => socket.destroy());
  const disk = app(shop);
  let live = [await instance("1")];
  context.defer(() => Promise.all(live.map((one) => one.close())));
  good(
    await switchRoute(disk, {
      generation: 1,
      deployment: dep(1),
      target: { addresses: live.map(({ address }) => address) },
    }),
  );
  const running = load(caddy.port, shop.hosts[0]!, 4, ({ body, headers }) => {
    const claims = Number(String(headers["x-millrace-deployment"]).slice(-3));
    return Number(body) >= claims ? undefined : `${body} answered as ${claims}`;
  });
  for (let generation = 2; generation <= 9; generation++) {
    const count = [1, 2, 3][generation % 3]!;
    const next = await Promise.all(Array.from({ length: count }, () => instance(`${generation}`)));
    good(
      await switchRoute(disk, {
        generation,
        deployment: dep(generation),
        target: { addresses: next.map(({ address }) => address) },
      }),
    );
    const before = live;
    live = next;
    await new Promise((resolve) => setTimeout(resolve, 250)); // the settling time of the orchestrator's cleanup
    await Promise.all(before.map((one) => one.close()));
  }
  // Hosts of a third application come: a load, which may cut connections that are kept, but no WebSocket.
  await running.stop();
  good(await loadCaddy(node.admin, renderCaddy([shop, chat, site], node)));
  assert.ok(running.answered() > 100, `${running.answered()} requests`);
  assert.equal(
    [...running.by.keys()].filter((name) => !name.startsWith("dep_01")),
    [],
  );
  assert.equal(running.failures, []);
  for (const socket of open) {
    const answer = new Promise((resolve) => socket.once("data", resolve).once("close", () => resolve("closed")));
    socket.write("still there?");
    assert.is(String(await answer), "still there?");
  }
});

test("its own authority serves HTTPS without touching the machine's", async (context) => {
  const { caddy, node, app } = await world(context);
  const disk = app(site);
  good(
    await switchRoute(disk, {
      generation: 1,
      deployment: dep(1),
      target: { release: await release(disk, { "index.html": "safe" }) },
    }),
  );
  const free = await instance("x");
  const tlsPort = Number(free.address.split(":")[1]);
  await free.close();
  good(
    await loadCaddy(node.admin, renderCaddy([site], { ...node, tls: "internal", listenTls: `127.0.0.1:${tlsPort}` })),
  );
  const ask = () =>
    new Promise<string>((resolve, reject) => {
      const options: RequestOptions = {
        host: "127.0.0.1",
        port: tlsPort,
        servername: site.hosts[0]!,
        headers: { host: site.hosts[0]! },
        rejectUnauthorized: false,
        agent: false,
      };
      const sent = secure(options, async (answer) => {
        let body = "";
        for await (const chunk of answer) body += chunk;
        resolve(body);
      });
      sent.once("error", reject);
      sent.end();
    });
  let said = "";
  for (const deadline = Date.now() + 20_000; said !== "safe" && Date.now() < deadline; ) {
    said = await ask().catch(() => "");
    if (said !== "safe") await new Promise((resolve) => setTimeout(resolve, 100));
  }
  assert.is(said, "safe");
  assert.not.match(readFileSync(caddy.logFile, "utf8"), /installing root certificate/);
});

test.run();
