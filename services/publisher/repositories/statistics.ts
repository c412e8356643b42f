/**
 * Who pulled what, from Caddy's access log. The client asks once in each pull for `delta-indexes/…` of the commit it wants, whether there is
 * one or not, and says for which reference and, when it updates, from which commit (measured with flatpak 1.14).
 *
 * What was counted and how far the log was read are written down together, line by line, in a book of our own: after a crash neither is there
 * without the other, so nothing is counted twice or left out. The log may be turned over meanwhile: each file of it is known by its inode and
 * its first line, and read to its end before the next.
 */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { open, readdir, readFile, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { syncFolder, writeWhole } from "@millrace/eventlog/durable-files.ts";
import { faultPoint } from "@millrace/eventlog/faultpoint.ts";

export interface Row {
  readonly repository: string;
  /** `2026-11-21`, UTC. */
  readonly day: string;
  readonly ref: string;
  readonly commit: string;
  readonly installs: number;
  readonly updates: number;
}

interface Position {
  /** Inode and digest of the first line. */
  readonly file: string;
  /** Bytes that were read of it. */
  readonly offset: number;
}
interface Entry {
  readonly position: Position;
  readonly rows: ReadonlyArray<Row>;
}
export interface Book {
  readonly position: Position | undefined;
  readonly rows: ReadonlyMap<string, Row>;
}

/** One pull, as a line of the log tells it. */
export interface Pull {
  /** As in the address: a name or an id. */
  readonly reference: string;
  /** Told by Caddy where the gateway said which. */
  readonly repository: string | undefined;
  readonly day: string;
  readonly ref: string;
  readonly commit: string;
  readonly isUpdate: boolean;
}

const URI =
  /^\/repo\/([a-z0-9][a-z0-9_-]{0,62})(?:@[a-z0-9-]{1,63})?\/delta-indexes\/([A-Za-z0-9+_]{2})\/([A-Za-z0-9+_]{41})\.index(?:\?|$)/;
const REF = /^(app|runtime)\/[A-Za-z0-9._-]{1,255}\/[A-Za-z0-9_]{1,64}\/[A-Za-z0-9._-]{1,128}$/;
const LINE_MOST = 64 * 1024;

/** @returns undefined for a line that tells of no pull. Clients write some characters of an address as `%40`. */
export function pullOf(line: string): Pull | undefined {
  if (line.length > LINE_MOST || !line.includes("/delta-indexes/")) return undefined;
  try {
    const { ts, status, repository, request } = JSON.parse(line) as {
      ts: number;
      status: number;
      repository?: string;
      request: { method: string; uri: string; headers: Record<string, string[]> };
    };
    const [, reference, two, others] = URI.exec(decodeURIComponent(request.uri)) ?? [];
    const ref = request.headers["Flatpak-Ref"]?.[0] ?? "";
    if (reference === undefined || request.method !== "GET" || (status !== 200 && status !== 404) || !REF.test(ref)) {
      return undefined;
    }
    return {
      reference,
      repository,
      day: new Date(ts * 1_000).toISOString().slice(0, 10),
      ref,
      commit: Buffer.from(`${two}${others}`.replaceAll("_", "/"), "base64").toString("hex"),
      isUpdate: request.headers["Flatpak-Upgrade-From"] !== undefined,
    };
  } catch {
    // A torn line, or one of another shape.
    return undefined;
  }
}

const keyOf = ({ repository, day, ref, commit }: Omit<Row, "installs" | "updates">): string =>
  `${repository} ${day} ${ref} ${commit}`;

function add(rows: Map<string, Row>, more: Iterable<Row>): void {
  for (const row of more) {
    const before = rows.get(keyOf(row));
    if (before === undefined) rows.set(keyOf(row), row);
    else {
      const { installs, updates } = before;
      rows.set(keyOf(row), { ...row, installs: installs + row.installs, updates: updates + row.updates });
    }
  }
}

/** All that was counted. A torn last line, of a crash, counts for nothing: what it would have told is read again. */
export async function readBook(path: string): Promise<Book> {
  const text = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return "";
    throw error;
  });
  const rows = new Map<string, Row>();
  let position: Position | undefined;
  for (const line of text.slice(0, text.lastIndexOf("\n") + 1).split("\n")) {
    if (line === "") continue;
    const entry = JSON.parse(line) as Entry;
    add(rows, entry.rows);
    position = entry.position;
  }
  return { position, rows };
}

/** Days that are kept. */
const KEPT_DAYS = 400;
/** From this size on it is written anew, summed up. */
const BOOK_BYTES = 4 * 1024 * 1024;

async function write(path: string, entry: Entry): Promise<void> {
  const before = await readFile(path, "utf8").catch(() => "");
  const torn = before !== "" && !before.endsWith("\n");
  const size = Buffer.byteLength(before);
  if (torn || size > BOOK_BYTES) {
    const { rows } = await readBook(path);
    const summed = new Map(rows);
    add(summed, entry.rows);
    const since = new Date(Date.now() - KEPT_DAYS * 86_400_000).toISOString().slice(0, 10);
    const kept = [...summed.values()].filter(({ day }) => day >= since);
    await writeWhole(path, `${JSON.stringify({ position: entry.position, rows: kept })}\n`);
    return;
  }
  const file = await open(path, "a", 0o600);
  try {
    await file.writeFile(`${JSON.stringify(entry)}\n`);
    await file.datasync();
  } finally {
    await file.close();
  }
  if (size === 0) await syncFolder(dirname(path));
}

interface LogFile {
  readonly path: string;
  readonly name: string;
  readonly size: number;
}

/** The log's files, oldest first: those that were turned over bear the time in their name. */
async function filesOf(log: string): Promise<LogFile[]> {
  const folder = dirname(log);
  const stem = basename(log, ".log");
  const names = (await readdir(folder).catch(() => []))
    .filter((name) => name === `${stem}.log` || (name.startsWith(`${stem}-`) && name.endsWith(".log")))
    .sort((a, b) => (a === `${stem}.log` ? 1 : b === `${stem}.log` ? -1 : a < b ? -1 : 1));
  const files: LogFile[] = [];
  for (const name of names) {
    const path = join(folder, name);
    const found = await stat(path).catch(() => undefined);
    const head = await headOf(path);
    if (found === undefined || head === undefined) continue;
    files.push({ path, name: `${found.ino}-${head}`, size: found.size });
  }
  return files;
}

/** Undefined where not even one line is whole. */
async function headOf(path: string): Promise<string | undefined> {
  const file = await open(path, "r").catch(() => undefined);
  if (file === undefined) return undefined;
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(LINE_MOST), 0, LINE_MOST, 0);
    const end = buffer.subarray(0, bytesRead).indexOf(10);
    if (end < 0 && bytesRead < LINE_MOST) return undefined;
    return createHash("sha256")
      .update(buffer.subarray(0, end < 0 ? LINE_MOST : end))
      .digest("hex")
      .slice(0, 16);
  } finally {
    await file.close();
  }
}

/** Lines that are counted together. */
const BATCH = 5_000;

export interface Counting {
  readonly log: string;
  readonly book: string;
  /** The repository that a pull was of; undefined: none, or not one that has this commit for this reference. */
  readonly of: (pull: Pull) => Promise<string | undefined>;
  readonly signal?: AbortSignal;
}

/** Counts everything up to now. One at a time for a book. @returns pulls that were counted */
export async function count({ log, book, of, signal }: Counting): Promise<number> {
  const { position } = await readBook(book);
  const files = await filesOf(log);
  const at = files.findIndex(({ name }) => name === position?.file);
  let counted = 0;
  for (const [index, file] of files.slice(Math.max(at, 0)).entries()) {
    let offset = index === 0 && at >= 0 ? position!.offset : 0;
    if (offset >= file.size) continue;
    let rows = new Map<string, Row>();
    let lines = 0;
    const keep = async () => {
      if (lines === 0) return;
      faultPoint("statistics.before");
      await write(book, { position: { file: file.name, offset }, rows: [...rows.values()] });
      faultPoint("statistics.written");
      rows = new Map();
      lines = 0;
    };
    for await (const { line, end } of linesOf(file.path, offset, file.size)) {
      signal?.throwIfAborted();
      const pull = pullOf(line);
      const repository = pull === undefined ? undefined : await of(pull);
      if (pull !== undefined && repository !== undefined) {
        const { day, ref, commit, isUpdate } = pull;
        add(rows, [{ repository, day, ref, commit, installs: isUpdate ? 0 : 1, updates: isUpdate ? 1 : 0 }]);
        counted++;
      }
      offset = end;
      if (++lines >= BATCH) await keep();
    }
    await keep();
  }
  return counted;
}

/** Whole lines only: the last may still be written. */
async function* linesOf(path: string, from: number, to: number): AsyncGenerator<{ line: string; end: number }> {
  const stream = createReadStream(path, { start: from, end: to - 1 });
  let end = from;
  const reader = createInterface({ input: stream, crlfDelay: Number.POSITIVE_INFINITY });
  try {
    for await (const line of reader) {
      end += Buffer.byteLength(line) + 1;
      if (end <= to) yield { line, end };
    }
  } finally {
    reader.close();
    stream.destroy();
  }
}
