/** `mill backup …`: what an installation is asked for goes to its gateway; what touches target and key runs here. */
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { decodePosition } from "@millrace/contracts/position.ts";
import { type RunningNats, removeNatsData, startNats } from "@millrace/local/nats.ts";
import { backupEnvironment, backupKeyFileOf, RESTORING } from "@millrace/local/platform.ts";
import { freePort } from "@millrace/local/ports.ts";
import { startPostgres } from "@millrace/local/postgres.ts";
import { readRunState } from "@millrace/local/run-state.ts";
import { ensureBackupKey } from "@millrace/local/secrets.ts";
import { Failure, interrupted, usage } from "../failure.ts";
import { gatewayOf, sleep } from "../gateway.ts";
import { type Io, oneLine } from "../io.ts";
import { facts, printList } from "../output.ts";
import { styleOf } from "../run.ts";
import { type AnyCall, type Call, EXIT, type None } from "../table.ts";
import type { Answer } from "../typed.ts";
import { markBegun, markDone, syncTree } from "./backup-mark.ts";
import { type DataCall, dataFolderOf, settingsOf } from "./platform.ts";

type Text<K extends string> = { readonly [P in K]: { readonly type: "string"; readonly summary: string } };
type Id = { readonly id: { readonly summary: string; readonly optional: true } };
type DrillCall = Call<Text<"data" | "at" | "position">, Id>;
type Servers = { readonly replicas: { readonly type: "integer"; readonly summary: string } };
type RestoreCall = Call<Text<"data" | "at" | "position" | "leaf"> & Servers, Id>;
type Status = Answer<"getBackups">;

const TOOL = fileURLToPath(new URL("../../services/orchestrator/backup-tool.ts", import.meta.url));

export async function runNow(
  call: Call<{ readonly wait: { readonly type: "boolean"; readonly summary: string } }, None>,
): Promise<void> {
  const { io, flags } = call;
  const gateway = gatewayOf(call);
  const before = await gateway.call("makeBackup", {});
  if (!flags.wait) {
    io.err("Asked for: `mill backup status`\n");
    return;
  }
  const seconds = flags.timeout ?? 600;
  const until = performance.now() + seconds * 1_000;
  for (;;) {
    const now = await gateway.call("getBackups", {});
    if (now.failed !== undefined && now.failed.at !== before.failed?.at)
      throw new Failure("backup-failed", EXIT.failure, "The backup failed", { why: now.failed.reason });
    // One that was under way when it was asked for is not the one.
    const isNew = now.last !== undefined && now.last.id !== before.last?.id;
    if (isNew && (before.running === undefined || now.running === undefined)) {
      await show(call, now);
      return;
    }
    if (performance.now() > until)
      throw new Failure("timeout", EXIT.timeout, `It is not made after ${seconds} s`, {
        fix: "It goes on: `mill backup status`",
      });
    await sleep(300, io.interrupted);
  }
}

export async function status(call: AnyCall): Promise<void> {
  await show(call, await gatewayOf(call).call("getBackups", {}));
}

async function show(call: AnyCall, now: Status): Promise<void> {
  if (await asJson(call, now)) return;
  const { last, failed, running } = now;
  const rows: [string, string | undefined][] = [
    ["target", now.target ?? "none: set MILLRACE_BACKUP_TARGET"],
    ["every", now.everyHours === undefined ? undefined : `${now.everyHours} h`],
    ["running", running && `since ${running.since} ${running.part}`],
    ["last", last && `${last.id}, of ${last.at}`],
    ["stored", last && `${size(last.storedBytes)}, ${size(last.reusedBytes)} were there already`],
    ["failed", failed && `${failed.at}: ${oneLine(failed.reason)}`],
    ["next", now.next],
  ];
  await call.io.out(facts(rows));
}

interface Row {
  readonly id: string;
  readonly damaged?: string;
  readonly at?: string;
  readonly messages?: number;
  readonly bytes?: number;
  readonly files?: number;
  readonly stored?: number;
}

export async function list(call: DataCall): Promise<void> {
  const rows = (await tool(call, "list", {})) as Row[];
  await printList(
    call.io,
    styleOf(call),
    rows,
    [
      { title: "id", value: ({ id }) => id },
      { title: "of", value: ({ at }) => at },
      { title: "messages", value: ({ messages }) => messages },
      { title: "files", value: ({ files }) => files },
      { title: "content", value: ({ bytes }) => (bytes === undefined ? undefined : size(bytes)) },
      { title: "stored for it", value: ({ stored }) => (stored === undefined ? undefined : size(stored)) },
      { title: "damaged", value: ({ damaged }) => damaged },
    ],
    ({ id }) => id,
  );
}

export async function verify(call: Call<Text<"data">, Id>): Promise<number> {
  const found = (await tool(call, "verify", { id: call.args.id })) as {
    readonly id: string;
    readonly chunks: number;
    readonly messages: number;
    readonly files: number;
    readonly bytes: number;
    readonly faults: readonly string[];
  };
  if (!(await asJson(call, found)))
    await call.io.out(
      facts([
        ["backup", found.id],
        ["read", `${found.chunks} chunks, ${size(found.bytes)}: ${found.messages} messages, ${found.files} files`],
        ["faults", found.faults.length === 0 ? "none" : found.faults.map(oneLine).join("\n")],
      ]),
    );
  return found.faults.length === 0 ? EXIT.ok : EXIT.failure;
}

export async function prune(call: DataCall): Promise<void> {
  const done = (await tool(call, "prune", {})) as {
    readonly backups: readonly string[];
    readonly marked: number;
    readonly removed: number;
    readonly removedBytes: number;
  };
  if (await asJson(call, done)) return;
  await call.io.out(
    facts([
      ["let go", done.backups.length === 0 ? "no backup" : done.backups.join(" ")],
      ["removed", `${done.removed} chunks, ${size(done.removedBytes)}`],
      ["marked", `${done.marked} chunks, to be removed a day from now`],
    ]),
  );
}

export async function key(call: DataCall): Promise<void> {
  const file = backupKeyFileOf(dataFolderOf(call), settingsOf(call.io).values);
  mkdirSync(join(file, ".."), { recursive: true, mode: 0o700 });
  ensureBackupKey(file);
  call.io.err(`${file}: keep it somewhere else than the backups. Put back there, it opens them.\n`);
  await call.io.out(`${readFileSync(file, "utf8").trim()}\n`);
}

export async function restore(call: RestoreCall): Promise<void> {
  const data = dataFolderOf(call);
  if (readRunState(data) !== undefined)
    throw new Failure("running", EXIT.failure, `Something runs on ${data}`, { fix: "`mill down`, or another --data" });
  const isOurs = settingsOf(call.io).values.natsUrl === undefined;
  const done = isOurs ? await restoreInto(call, data) : await restoreThere(call, data);
  if (await asJson(call, done)) return;
  const { id, at, position, keysOf, files } = done;
  await call.io.out(
    facts([
      ["restored", `${id}, of ${at}`],
      [
        "up to",
        Object.entries(position)
          .map(([context, seq]) => `${context} ${seq}`)
          .join(", "),
      ],
      ["data keys of", keysOf ?? "none were kept: what is sealed cannot be read"],
      ["files", files],
      ["next", `mill up --data ${data}`],
    ]),
  );
}

interface Restored {
  readonly id: string;
  readonly at: string;
  readonly position: Readonly<Record<string, number>>;
  readonly keysOf: string | null;
  readonly files: number;
}

/** A mark says that it has begun: what finds it starts on nothing, and nothing else starts there. */
async function restoreInto(call: DrillCall, data: string): Promise<Restored> {
  const mark = join(data, RESTORING);
  const nats = join(data, "nats");
  if (!existsSync(mark) && existsSync(join(nats, "store")))
    throw new Failure("not-empty", EXIT.failure, `${data} has a log already`, { fix: "Restore into another folder" });
  markBegun(data, call.args.id);
  removeNatsData(nats);
  // What was built from another log.
  rmSync(join(data, "postgres"), { recursive: true, force: true });
  const done = await withNats(call, data, (server, leaf) =>
    tool(call, "restore", { ...wanted(call), data, leaf, nats: addressOf(server) }),
  );
  syncTree(nats);
  markDone(data);
  return done as Restored;
}

/** Into servers of the operator's own, that have nothing yet: one, or a cluster. */
async function restoreThere(call: RestoreCall, data: string): Promise<Restored> {
  const { flags, io } = call;
  const { natsUrl: url, natsUser: user, natsPassword: password } = settingsOf(io).values;
  const [, host, port] = /^(.+):(\d{1,5})$/.exec(flags.leaf ?? "") ?? [];
  if (host === undefined)
    throw usage("The log lies on servers of yours", "Say by --leaf where one of them takes leaf connections");
  const { MILLRACE_LEAF_USER: leafUser = user, MILLRACE_LEAF_PASSWORD: leafPassword = password } = io.env;
  const { replicas = 1 } = flags;
  if (replicas === 2) throw usage("--replicas is 1 or 3: two cannot outvote one that is lost");
  const nats = { url, user, password, replicas };
  const leaf = { host, port: Number(port), user: leafUser, password: leafPassword };
  // Also after one that was cut off: what is half there is for its owner to take away, who knows whose it is.
  await tool(call, "empty", { nats });
  markBegun(data, call.args.id);
  const done = await tool(call, "restore", { ...wanted(call), data, leaf, nats });
  markDone(data);
  return done as Restored;
}

export async function drill(call: DrillCall): Promise<number> {
  const { io } = call;
  const folder = mkdtempSync(join(tmpdir(), "millrace-drill-"));
  chmodSync(folder, 0o711); // PostgreSQL's user passes through it
  try {
    const data = join(folder, "data");
    const restored = await restoreInto(call, data);
    const settings = settingsOf(io).values;
    const masterFile = settings.masterKeyFile ?? join(dataFolderOf(call), "secrets", "master.key");
    const masterKeys = existsSync(masterFile) ? readFileSync(masterFile, "utf8") : undefined;
    if (masterKeys === undefined) io.err(`there is no ${masterFile}: no data key is opened\n`);
    const postgres = await startPostgres({ dataDir: join(folder, "postgres", "data") });
    try {
      const found = (await withNats(call, data, (server) =>
        tool(call, "check", { ...wanted(call), nats: addressOf(server), masterKeys, postgres: postgres.url }),
      )) as Checked;
      const wrong = [...found.differences, ...found.unusable, ...found.unbuilt];
      if (!(await asJson(call, { ...found, files: restored.files })))
        await io.out(
          facts([
            ["backup", `${found.id}, of ${found.at}`],
            ["compared", `${found.messages} messages of ${found.streams} streams, ${size(found.bytes)}`],
            ["entities", found.aggregates],
            ["data keys", found.dataKeys],
            [
              "views",
              Object.entries(found.views)
                .map(([name, rows]) => `${name} ${rows}`)
                .join(", "),
            ],
            ["files", restored.files],
            ["wrong", wrong.length === 0 ? "nothing" : wrong.map(oneLine).join("\n")],
          ]),
        );
      return wrong.length === 0 ? EXIT.ok : EXIT.failure;
    } finally {
      await postgres.stop("SIGINT");
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

interface Checked {
  readonly id: string;
  readonly at: string;
  readonly streams: number;
  readonly messages: number;
  readonly bytes: number;
  readonly aggregates: number;
  readonly dataKeys: number;
  readonly views: Readonly<Record<string, number>>;
  readonly differences: readonly string[];
  readonly unusable: readonly string[];
  readonly unbuilt: readonly string[];
}

/** A server for this alone. It need not sync: what it has written is synced when it has ended, and before that counts for nothing. */
async function withNats<T>(
  { io }: AnyCall,
  data: string,
  work: (server: RunningNats, leaf: Readonly<Record<string, unknown>>) => Promise<T>,
): Promise<T> {
  const { natsServer, bring } = settingsOf(io).values;
  const leaf = { port: await freePort(), user: "restore", password: randomBytes(24).toString("base64url") };
  const server = await startNats({
    dataDir: join(data, "nats"),
    credentialsFile: join(data, "secrets", "nats.json"),
    sync: "default",
    bring,
    leaf,
    log: (line) => io.err(`${line}\n`),
    ...(natsServer ? { binary: natsServer } : {}),
  });
  try {
    return await work(server, { host: "127.0.0.1", ...leaf });
  } finally {
    await server.stop();
  }
}

const addressOf = ({ url, user, password }: RunningNats) => ({ url, user, password });

function wanted({ args, flags }: DrillCall): Readonly<Record<string, unknown>> {
  if (flags.at !== undefined && flags.position !== undefined) throw usage("--at or --position, not both");
  const { id } = args;
  if (flags.at !== undefined) {
    if (Number.isNaN(Date.parse(flags.at)) || !/(Z|[+-]\d\d:\d\d)$/.test(flags.at))
      throw usage("--at takes a time with its zone, as 2026-11-21T08:00:00Z");
    return { id, moment: { time: flags.at } };
  }
  if (flags.position === undefined) return { id };
  const position = decodePosition(flags.position);
  if (position === undefined) throw usage("--position takes a position as a command was answered it");
  // A place may lie within a commit; a commit is never halved.
  const whole = Object.entries(position).map(([context, { seq }]) => [context, seq] as const);
  return { id, moment: { position: Object.fromEntries(whole) } };
}

/** Runs the program that knows targets and logs, shows what it says, and returns its result. */
async function tool(call: AnyCall, verb: string, options: unknown): Promise<unknown> {
  const { io } = call;
  const { values } = settingsOf(io);
  const data = dataFolderOf(call as DataCall);
  const env = { ...io.env, ...backupEnvironment(values, backupKeyFileOf(resolve(data), values)) };
  const child = spawn(process.execPath, [TOOL, verb], {
    env: Object.fromEntries(Object.entries(env).filter(([, value]) => value !== undefined)) as NodeJS.ProcessEnv,
    stdio: ["pipe", "pipe", "pipe"],
  });
  // There are passwords in it: not for the list of processes.
  child.stdin.on("error", () => {}).end(JSON.stringify(options));
  const end = () => child.kill("SIGTERM");
  io.interrupted.addEventListener("abort", end);
  let said = "";
  child.stderr.on("data", (text: Buffer) => {
    said = `${said}${text}`.slice(-4_000);
  });
  let outcome: { readonly result?: unknown; readonly problem?: { readonly message: string; readonly fix: string } } =
    {};
  const exit = new Promise<void>((done) => void child.once("close", () => done()));
  for await (const line of createInterface({ input: child.stdout })) {
    const told = JSON.parse(line) as typeof outcome & { readonly progress?: string };
    if (told.progress !== undefined) tell(io, told.progress);
    else outcome = told;
  }
  await exit;
  io.interrupted.removeEventListener("abort", end);
  if (io.interrupted.aborted) throw interrupted();
  if (outcome.problem !== undefined)
    throw new Failure(`backup-${verb}`, EXIT.failure, oneLine(outcome.problem.message), { fix: outcome.problem.fix });
  if (!("result" in outcome)) throw new Failure(`backup-${verb}`, EXIT.failure, "It broke off", { why: oneLine(said) });
  return outcome.result;
}

const tell = (io: Io, line: string) => io.err(`${oneLine(line)}\n`);

async function asJson(call: AnyCall, value: unknown): Promise<boolean> {
  const { format } = styleOf(call);
  if (format !== "json" && format !== "jsonl") return false;
  await call.io.out(`${JSON.stringify(value, null, format === "json" ? 2 : undefined)}\n`);
  return true;
}

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

function size(bytes: number): string {
  const unit = Math.min(UNITS.length - 1, Math.floor(Math.log2(Math.max(1, bytes)) / 10));
  return `${(bytes / 1024 ** unit).toFixed(unit === 0 ? 0 : 1)} ${UNITS[unit]}`;
}
