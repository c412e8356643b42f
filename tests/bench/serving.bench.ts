/**
 * Serving a repository by Caddy as it is configured for them (paths by class, tags, two places for each object) against a bare nginx from
 * Debian that serves the same folder with its own best settings, and against a bare `file_server` of the same Caddy: how much of the way to
 * nginx is Caddy's own. Asked by `wrk`, from Debian, too. Small objects by requests, a large delta by bytes.
 */
import { execFile, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { servedPlaces } from "@millrace/eventlog/served.ts";
import { cacheFolder, findCaddy } from "@millrace/local/binaries.ts";
import { startCaddy } from "@millrace/local/caddy.ts";
import { bringFromDebian } from "@millrace/local/debian.ts";
import { freePort } from "@millrace/local/ports.ts";
import { loadCaddy, renderCaddy } from "@millrace/orchestrator/adapters/caddy.ts";
import { nodeDisk } from "@millrace/orchestrator/adapters/disk.ts";
import { inTurn, median, ratioOf, report } from "./measure.ts";

const ROUNDS = 3;
const SECONDS = Number(process.env.BENCH_SECONDS ?? 3);
const OBJECTS = 2_000;
const DELTA = `${"A".repeat(41)}`;
const run = promisify(execFile);

const brought = join(cacheFolder(), "debian", "bench-serving");
const why = await bringFromDebian(
  { names: ["nginx", "wrk"], withDependencies: true },
  brought,
  console.log,
  async () => undefined,
);
const found = await findCaddy({ bring: true });
if (why !== undefined || found.path === undefined) {
  console.log(`not run: ${why ?? "there is no Caddy"}`);
  process.exit(0);
}
const LIBRARIES = ["usr/lib", "lib"].map((name) => join(brought, name, "x86_64-linux-gnu")).join(":");
const env = { ...process.env, LD_LIBRARY_PATH: LIBRARIES };
const folder = mkdtempSync(join(tmpdir(), "millrace-serving-"));
const places = servedPlaces(folder, "local");
const place = join(folder, "publisher/local/repositories/rep_01kajzq4v0e8r9t2m5x7c3d6fg");
const paths = fill();

const caddy = await startCaddy({ dataDir: join(folder, "caddy") });
const { admin, address: listen, storage } = caddy;
const node = { disk: nodeDisk(folder, "local"), listen, admin, storage, tls: "off" } as const;
const loaded = await loadCaddy(admin, renderCaddy([], { ...node, repositories: { places, gateway: undefined } }));
if ("failed" in loaded) throw new Error(loaded.failed.message);
const port = await freePort();
const plain = await startCaddy({ dataDir: join(folder, "plain") });
const bare = { ...(renderCaddy([], { ...node, admin: plain.admin, listen: plain.address }) as Bare) };
bare.apps.http.servers.apps.routes = [{ handle: [{ handler: "file_server", root: join(place, "repo") }] }];
const served = await loadCaddy(plain.admin, bare);
if ("failed" in served) throw new Error(served.failed.message);
const nginx = await startNginx();
try {
  const ours = `http://${listen}/repo/stable`;
  const theirs = `http://127.0.0.1:${port}`;
  const small = await inTurn(
    ROUNDS,
    () => ask(ours, paths),
    () => ask(theirs, paths),
  );
  const requests = (all: ReadonlyArray<Answered>) => `${Math.round(median(all.map((one) => one.requests)))}/s`;
  const durability = `${OBJECTS} objects of 4 KiB, 32 connections`;
  report({
    what: "requests for objects",
    against: "nginx",
    ratio: ratioOf(small, (one) => one.requests),
    reach: "≥ 0.8",
    ours: requests(small.ours),
    theirs: requests(small.theirs),
    durability,
  });
  const same = await inTurn(
    ROUNDS,
    () => ask(ours, paths),
    () => ask(`http://${plain.address}`, paths),
  );
  report({
    what: "requests for objects",
    against: "Caddy's bare file_server",
    ratio: ratioOf(same, (one) => one.requests),
    reach: "≥ 0.6",
    ours: requests(same.ours),
    theirs: requests(same.theirs),
    durability,
  });
  const large = await inTurn(
    ROUNDS,
    () => ask(ours, [`/deltas/AA/${DELTA}/0`]),
    () => ask(theirs, [`/deltas/AA/${DELTA}/0`]),
  );
  const bytes = (all: ReadonlyArray<Answered>) =>
    `${Math.round(median(all.map((one) => one.bytes)) / 1024 ** 2)} MiB/s`;
  report({
    what: "bytes of a delta",
    against: "nginx",
    ratio: ratioOf(large, (one) => one.bytes),
    reach: "≥ 0.8",
    ours: bytes(large.ours),
    theirs: bytes(large.theirs),
    durability: "one of 32 MiB, 32 connections",
  });
} finally {
  const ended = new Promise((resolve) => nginx.once("exit", resolve));
  nginx.kill("SIGTERM");
  await ended;
  await caddy.stop();
  await plain.stop();
  rmSync(folder, { recursive: true, force: true });
}

interface Bare extends Readonly<Record<string, unknown>> {
  readonly apps: { readonly http: { readonly servers: { readonly apps: { routes: unknown[] } } } };
}

/** Objects of random bytes, and a delta; public. @returns paths of the objects */
function fill(): string[] {
  const put = (path: string, content: Uint8Array | string) => {
    mkdirSync(dirname(join(place, "repo", path)), { recursive: true });
    writeFileSync(join(place, "repo", path), content);
  };
  put("config", "[core]\nmode=archive-z2\n");
  put(`deltas/AA/${DELTA}/0`, randomBytes(32 * 1024 ** 2));
  const all = Array.from({ length: OBJECTS }, () => {
    const name = randomBytes(32).toString("hex");
    return `objects/${name.slice(0, 2)}/${name.slice(2)}.filez`;
  });
  for (const path of all) put(path, randomBytes(4_096));
  mkdirSync(places.public, { recursive: true });
  symlinkSync(place, join(places.public, "stable"));
  return all.map((path) => `/${path}`);
}

async function startNginx() {
  const at = join(folder, "nginx");
  mkdirSync(at, { recursive: true });
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
    .map((name) => `${name}_temp_path ${at}/${name};`)
    .join(" ");
  const configuration = [
    `daemon off; pid ${at}/pid; error_log ${at}/error.log; worker_processes auto;`,
    ...(process.getuid?.() === 0 ? ["user root;"] : []),
    "events { worker_connections 1024; }",
    `http { ${temporary} access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000;`,
    "open_file_cache max=10000 inactive=60s; open_file_cache_valid 60s; default_type application/octet-stream;",
    `server { listen 127.0.0.1:${port} reuseport; root ${place}/repo; add_header Cache-Control "public, max-age=31536000, immutable"; } }`,
  ].join("\n");
  writeFileSync(join(at, "nginx.conf"), configuration);
  const child = spawn(
    join(brought, "usr/sbin/nginx"),
    ["-c", join(at, "nginx.conf"), "-p", at, "-e", join(at, "error.log")],
    {
      env,
      stdio: ["ignore", "ignore", "inherit"],
    },
  );
  for (const deadline = Date.now() + 10_000; ; ) {
    const answered = await fetch(`http://127.0.0.1:${port}/config`).then(
      (answer) => answer.ok,
      () => false,
    );
    if (answered) return child;
    if (Date.now() > deadline || child.exitCode !== null) throw new Error("nginx does not answer");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

interface Answered {
  readonly requests: number;
  /** A second. */
  readonly bytes: number;
}

/** All paths, one after the other, over and over. */
async function ask(base: string, all: ReadonlyArray<string>): Promise<Answered> {
  const { pathname } = new URL(base);
  const under = pathname === "/" ? "" : pathname;
  const script = join(folder, "paths.lua");
  const list = all.map((path) => JSON.stringify(under + path)).join(",\n");
  const report = 'io.write(string.format("ANSWERED %d %d %d %d\\n", s.requests, s.bytes, s.duration, s.errors.status))';
  writeFileSync(
    script,
    `local paths = {${list}}\nlocal n = 0\nrequest = function()\n n = n % #paths + 1\n return wrk.format("GET", paths[n])\nend\ndone = function(s)\n ${report}\nend\n`,
  );
  const { stdout } = await run(join(brought, "usr/bin/wrk"), ["-t1", "-c32", `-d${SECONDS}s`, "-s", script, base], {
    env,
  });
  const [, requests, bytes, micros, errors] = /ANSWERED (\d+) (\d+) (\d+) (\d+)/.exec(stdout)!.map(Number);
  if (errors! > 0) throw new Error(`${errors} answers were errors`);
  return { requests: (requests! / micros!) * 1e6, bytes: (bytes! / micros!) * 1e6 };
}
