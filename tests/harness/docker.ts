/**
 * Docker for a test file: the run's engine (one for all files; started when the first file comes that mentions
 * `testDocker`), a label scope of the file's own, and base images made here, without a registry. Everything under the
 * file's scopes is removed at its end.
 *
 *     test("…", async (context) => {
 *       const docker = await testDocker(context);   // skips, with the reason, where there can be no engine
 *       const engine = openDocker({ endpoint: docker.endpoint, scope: docker.scope() });
 */
import { spawn, spawnSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import {
  copyFileSync,
  createReadStream,
  existsSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { cacheFolder } from "@millrace/local/binaries.ts";
import { askDocker, dockerPrograms, programOf } from "@millrace/local/docker.ts";
import { type NoEngine, startTestEngine, type TestEngine } from "./docker-engine.ts";
import { eventually } from "./eventually.ts";
import { deferToEndOfFile, type TestContext } from "./suite.ts";

export interface TestDocker {
  /** `unix:///…` */
  readonly endpoint: string;
  /** A fresh label scope; two of them are two nodes on one engine. Emptied at the end of the file. */
  scope(): string;
  /** An image with busybox (sh, httpd, nc, wget, …) at /bin, users root and app (1000). Its name for FROM. */
  busybox(): Promise<string>;
  /** The same with this Node at /bin/node. */
  node(): Promise<string>;
}

let shared: Promise<TestEngine | NoEngine | { readonly endpoint: string }> | undefined;

/** The run's engine, or one of the file's own when it is run without a runner. Skips where there can be none. */
export async function testDocker(context: Pick<TestContext, "skip">): Promise<TestDocker> {
  shared ??= reach();
  const engine = await shared;
  if ("unavailable" in engine && engine.unavailable !== undefined) return context.skip(engine.unavailable);
  const { endpoint } = engine as { endpoint: string };
  return {
    endpoint,
    scope: () => freshScope(endpoint),
    busybox: () => image(endpoint, "busybox"),
    node: () => image(endpoint, "node"),
  };
}

/** An engine of the file's own, for what kills or freezes it. Ended at the end of the file. */
export async function startOwnDocker(context: Pick<TestContext, "skip">): Promise<TestDocker & TestEngine> {
  const engine = await startTestEngine(ownFolder());
  if (engine.unavailable !== undefined) return context.skip(engine.unavailable);
  deferToEndOfFile(() => engine.stop());
  const { endpoint } = engine;
  return {
    ...engine,
    scope: () => `t-${randomBytes(6).toString("hex")}`, // goes with the engine
    busybox: () => image(endpoint, "busybox"),
    node: () => image(endpoint, "node"),
  };
}

async function reach(): Promise<TestEngine | NoEngine | { readonly endpoint: string }> {
  const { MILLRACE_TEST_DOCKER: endpoint, MILLRACE_TEST_NO_DOCKER: unavailable } = process.env;
  if (endpoint) return { endpoint };
  if (unavailable) return { unavailable };
  const engine = await startTestEngine(ownFolder());
  if (engine.unavailable === undefined) deferToEndOfFile(() => engine.stop());
  return engine;
}

function ownFolder(): string {
  // Not in the run's folder: a socket's path may have 107 characters.
  const folder = mkdtempSync(join(tmpdir(), "millrace-docker-"));
  deferToEndOfFile(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

function freshScope(endpoint: string): string {
  const scope = `t-${randomBytes(6).toString("hex")}`;
  deferToEndOfFile(() => emptyScope(endpoint, scope));
  return scope;
}

/** Removes all that carries a scope's label. @throws Error with what is still there. */
export async function emptyScope(endpoint: string, scope: string): Promise<void> {
  const left = await leftIn(endpoint, scope);
  for (const path of left) {
    const { status, text } = await askDocker(endpoint, "DELETE", `${path}?force=1&v=1`);
    if (status >= 300 && status !== 404 && status !== 409) throw new Error(`${path} cannot be removed: ${text}`);
  }
}

/** What carries a scope's label, as paths of the engine's API: containers, networks, images. Empty when all is gone. */
export async function leftIn(endpoint: string, scope: string): Promise<string[]> {
  const list = async (path: string, kind: string) => {
    const label = kind === "images" ? "millrace.image" : `millrace.scope=${scope}`;
    const filters = encodeURIComponent(JSON.stringify({ label: [label] }));
    const { text } = await askDocker(endpoint, "GET", `${path}filters=${filters}`);
    return (JSON.parse(text) as { Id: string; Labels: Record<string, string> }[])
      .filter(({ Labels }) => kind !== "images" || Labels["millrace.image"]?.startsWith(`${scope}/`))
      .map(({ Id }) => `/${kind}/${Id}`);
  };
  return [
    ...(await list("/containers/json?all=1&", "containers")),
    ...(await list("/networks?", "networks")),
    ...(await list("/images/json?", "images")),
  ];
}

const applets = [
  "sh",
  "ls",
  "cat",
  "wget",
  "sleep",
  "nc",
  "ps",
  "kill",
  "httpd",
  "id",
  "echo",
  "env",
  "mkdir",
  "touch",
];
const more = [
  "dd",
  "true",
  "false",
  "head",
  "tail",
  "grep",
  "sed",
  "date",
  "seq",
  "test",
  "chown",
  "chmod",
  "nproc",
  "yes",
];

const known = new Map<string, Promise<string>>();

/** The image's name; imported when this engine does not have it. */
function image(endpoint: string, kind: "busybox" | "node"): Promise<string> {
  const key = `${endpoint} ${kind}`;
  const there = known.get(key) ?? importImage(endpoint, kind);
  known.set(key, there);
  return there;
}

async function importImage(endpoint: string, kind: "busybox" | "node"): Promise<string> {
  const archive = await archiveOf(kind);
  const tag = createHash("sha256").update(archive).digest("hex").slice(0, 12);
  const name = `millrace-test/${kind}`;
  const whole = `${name}:${tag}`;
  const there = async () => (await askDocker(endpoint, "GET", `/images/${whole}/json`)).status === 200;
  // Importing again gives the name to another image, and what was built on the first is no longer found in the cache.
  const turn = join(tmpdir(), `millrace-import-${createHash("sha256").update(`${endpoint} ${tag}`).digest("hex")}`);
  if (await there()) return whole;
  const another = `the import of ${whole} by another test`;
  await eventually(async () => (beFirst(turn) ? true : undefined), another, 60_000);
  try {
    if (!(await there())) await importArchive(endpoint, archive, name, tag);
  } finally {
    rmSync(turn, { recursive: true });
  }
  return whole;
}

/** Whether the folder was made by this call. */
function beFirst(folder: string): boolean {
  try {
    mkdirSync(folder);
    return true;
  } catch {
    return false;
  }
}

async function importArchive(endpoint: string, archive: string, name: string, tag: string): Promise<void> {
  const changes = encodeURIComponent("ENV PATH=/bin");
  const path = `/images/create?fromSrc=-&repo=${name}&tag=${tag}&changes=${changes}`;
  const { status, text } = await askDocker(endpoint, "POST", path, createReadStream(archive));
  if (status !== 200 || text.includes('"error"')) throw new Error(`${name}:${tag} cannot be imported: ${text}`);
}

/** The image's files as an archive in the cache, named by what it was made of. */
async function archiveOf(kind: "busybox" | "node"): Promise<string> {
  const programs = await dockerPrograms({ bring: true });
  if (!("folders" in programs)) throw new Error(programs.why);
  const busybox = programOf(programs, "busybox");
  if (!busybox) throw new Error("busybox is not there (apt-get install busybox-static)");
  const parts = [busybox, ...(kind === "node" ? [process.execPath] : [])];
  const facts = parts.map((path) => [path, statSync(path).size, statSync(path).mtimeMs]);
  const digest = createHash("sha256")
    .update(JSON.stringify([1, kind, facts, applets, more]))
    .digest("hex");
  const archive = join(cacheFolder(), "images", `${kind}-${digest.slice(0, 16)}.tar`);
  if (existsSync(archive)) return archive;
  mkdirSync(dirname(archive), { recursive: true });
  const folder = mkdtempSync(join(dirname(archive), ".making-"));
  try {
    const root = join(folder, "root");
    for (const name of ["bin", "etc", "tmp", "usr/bin", "app"]) mkdirSync(join(root, name), { recursive: true });
    copyFileSync(busybox, join(root, "bin/busybox"));
    for (const name of [...applets, ...more]) symlinkSync("busybox", join(root, "bin", name));
    writeFileSync(join(root, "etc/passwd"), "root:x:0:0::/:/bin/sh\napp:x:1000:1000::/app:/bin/sh\n");
    writeFileSync(join(root, "etc/group"), "root:x:0:\napp:x:1000:\n");
    if (kind === "node") addNode(root);
    await archiveFolder(root, join(folder, "image.tar"));
    renameSync(join(folder, "image.tar"), archive); // whole or not at all
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return archive;
}

/** The running Node and the libraries that it is linked with. */
function addNode(root: string): void {
  copyFileSync(process.execPath, join(root, "bin/node"));
  const { stdout } = spawnSync("ldd", [process.execPath], { encoding: "utf8" });
  for (const [, path] of (stdout ?? "").matchAll(/(\/\S+\.so\S*)/g)) {
    mkdirSync(join(root, dirname(path!)), { recursive: true });
    copyFileSync(path!, join(root, path!));
  }
}

function archiveFolder(root: string, archive: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const args = ["--numeric-owner", "--owner=0", "--group=0", "--mtime=@0", "-C", root, "-cf", archive, "."];
    const child = spawn("tar", args, { stdio: ["ignore", "ignore", "inherit"] });
    child.once("error", reject);
    child.once("exit", (code) => (code === 0 ? resolve() : reject(new Error(`tar ended with ${code}`))));
  });
}
