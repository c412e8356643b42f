/**
 * What `mill backup` runs on this machine: `node backup-tool.ts <verb>`, options as JSON on standard input, settings from the environment.
 * Lines of JSON on standard output: `{"progress": "…"}` while it works, `{"result": …}` at the end, or `{"problem": {"message", "fix"}}` and exit code 1.
 */
import { json } from "node:stream/consumers";
import { compareRestored } from "@millrace/eventlog/backup/compare.ts";
import { restoreNode } from "@millrace/eventlog/backup/files.ts";
import { BackupDamaged, type BackupKeys } from "@millrace/eventlog/backup/keys.ts";
import {
  BACKUPS,
  ForeignTarget,
  listIds,
  type Manifest,
  readManifest,
  readMark,
} from "@millrace/eventlog/backup/manifest.ts";
import { prune } from "@millrace/eventlog/backup/prune.ts";
import { type Moment, planRestore, restoreStreams } from "@millrace/eventlog/backup/restore.ts";
import { BACKUP_SETTINGS, type BackupPlace, backupPlaceOf } from "@millrace/eventlog/backup/settings.ts";
import { type Target, TargetUnavailable } from "@millrace/eventlog/backup/target.ts";
import { verifyBackup } from "@millrace/eventlog/backup/verify.ts";
import { connectNats } from "@millrace/eventlog/connection.ts";
import { LogUnavailable } from "@millrace/eventlog/failures.ts";
import { readSettings } from "@millrace/eventlog/settings.ts";
import { buildViews, checkInside } from "./backup-check.ts";

interface Options {
  readonly id?: string;
  readonly moment?: Moment;
  /** Of the node whose files are put back. */
  readonly node?: string;
  readonly data?: string;
  readonly nats?: { readonly url: string; readonly user: string; readonly password: string; readonly replicas?: 1 | 3 };
  readonly leaf?: { readonly host: string; readonly port: number; readonly user: string; readonly password: string };
  readonly masterKeys?: string;
  readonly postgres?: string;
}

const say = (line: unknown) => process.stdout.write(`${JSON.stringify(line)}\n`);
const progress = (text: string) => say({ progress: text });
const interrupted = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => interrupted.abort());

const VERBS = { list, verify, prune: pruneOld, empty, restore, check };

async function list(place: BackupPlace): Promise<unknown> {
  const { target, keys } = place;
  const rows: unknown[] = [];
  for (const id of await idsOf(target)) rows.push(await rowOf(target, keys, id));
  return rows.reverse();
}

async function rowOf(target: Target, keys: BackupKeys, id: string) {
  try {
    return summaryOf(await readManifest(target, keys, id));
  } catch (error) {
    if (!(error instanceof BackupDamaged)) throw error;
    return { id, damaged: error.message };
  }
}

function summaryOf({ id, at, tookMs, position, streams, nodes, stored, reused }: Manifest) {
  const bytes = streams.reduce((sum, part) => sum + part.chunks.reduce((all, chunk) => all + chunk.bytes, 0), 0);
  const messages = streams.reduce((sum, part) => sum + part.messages, 0);
  const files = nodes.reduce((sum, node) => sum + node.files, 0);
  return { id, at, tookMs, position, messages, bytes, files, stored: stored.bytes, reused: reused.bytes };
}

async function idsOf(target: Target): Promise<string[]> {
  if ((await readMark(target)) === undefined)
    throw new BackupDamaged({ name: target.description, reason: "there are no backups here" });
  return listIds(target, BACKUPS);
}

async function verify(place: BackupPlace, { id }: Options): Promise<unknown> {
  const chosen = id ?? (await idsOf(place.target)).at(-1);
  if (chosen === undefined) throw new BackupDamaged({ name: place.target.description, reason: "there are no backups" });
  return verifyBackup(place, chosen, interrupted.signal);
}

function pruneOld({ target, keys, retention }: BackupPlace): Promise<unknown> {
  return prune(target, keys, retention);
}

async function restore(place: BackupPlace, { id, moment, nats: at, leaf, data, node }: Options): Promise<unknown> {
  const plan = await planRestore(place, id, moment);
  progress(`backup ${plan.manifest.id} of ${plan.manifest.at}`);
  const nats = await connectNats({ ...at!, name: "millrace-restore" });
  try {
    await restoreStreams(place, plan, { nats, leaf: leaf! }, interrupted.signal, (stream) => progress(stream));
  } finally {
    await nats.close();
  }
  let files = 0;
  for (const part of plan.manifest.nodes) {
    if (node !== undefined && part.node !== node) continue;
    progress(`files of node ${part.node}`);
    files += await restoreNode(place, part, data!);
  }
  const { id: restored, at: time } = plan.manifest;
  return { id: restored, at: time, position: plan.position, keysOf: plan.keys?.at ?? null, files };
}

class NotEmpty extends Error {}

/** Whether servers have nothing yet. @throws NotEmpty, LogUnavailable */
async function empty(_: BackupPlace, { nats: at }: Options): Promise<unknown> {
  const nats = await connectNats({ ...at!, name: "millrace-restore" });
  try {
    for await (const name of nats.jsm.streams.names())
      throw new NotEmpty(`These servers have streams already, such as ${name}`);
    return {};
  } finally {
    await nats.close();
  }
}

/** Whether what was restored is what was backed up, and can be used. */
async function check(place: BackupPlace, { id, moment, nats: at, masterKeys, postgres }: Options): Promise<unknown> {
  const plan = await planRestore(place, id, moment);
  const nats = await connectNats({ ...at!, name: "millrace-drill" });
  try {
    const compared = await compareRestored(place, plan, nats, interrupted.signal, progress);
    progress("loading every entity");
    const inside = await checkInside(nats, masterKeys);
    progress("building every view");
    const built =
      postgres === undefined ? { views: {}, unbuilt: [] } : await buildViews(nats, postgres, interrupted.signal);
    return { id: plan.manifest.id, at: plan.manifest.at, ...compared, ...inside, ...built };
  } finally {
    await nats.close();
  }
}

function problemOf(error: unknown): { message: string; fix: string } {
  const message = error instanceof Error && error.message !== "" ? error.message : String(error);
  if (error instanceof TargetUnavailable)
    return { message, fix: "Check MILLRACE_BACKUP_TARGET and that it can be reached" };
  if (error instanceof ForeignTarget) return { message, fix: "`mill backup key` shows where the key is kept" };
  if (error instanceof BackupDamaged)
    return { message, fix: "`mill backup list` and `mill backup verify <id>` show what is whole" };
  if (error instanceof NotEmpty)
    return {
      message,
      fix: "Restore into servers that have nothing yet; after a restore that was cut off, empty them first",
    };
  if (error instanceof RangeError) return { message, fix: "`mill backup list` shows up to when each backup goes" };
  if (error instanceof LogUnavailable)
    return {
      message: `NATS: ${String((error.cause as Error)?.message ?? error.cause)}`,
      fix: "Look at its log, and try again",
    };
  return { message, fix: "Look at the settings of backups: `mill config`" };
}

try {
  const [verb = ""] = process.argv.slice(2);
  const work = VERBS[verb as keyof typeof VERBS];
  if (work === undefined) throw new TypeError(`${verb} is none of ${Object.keys(VERBS).join(", ")}`);
  const place = backupPlaceOf(readSettings(BACKUP_SETTINGS, process.env));
  if (place === undefined) throw new TypeError("there is no target for backups: set MILLRACE_BACKUP_TARGET");
  say({ result: await work(place, (await json(process.stdin)) as Options) });
} catch (error) {
  say({ problem: problemOf(error) });
  process.exitCode = 1;
}
