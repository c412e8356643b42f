/** A commit with another time: the same content built at the same moment of the log is the same commit, whenever a machine came to build it. */
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import { writeWhole } from "@millrace/eventlog/durable-files.ts";
import { decodeNormal, encode, type Value } from "../ostree/gvariant.ts";
import { Refusal } from "../ostree/refusal.ts";
import type { Repository } from "../ostree/repository.ts";

const COMMIT = "(a{sv}aya(say)sstayay)";
const TIME = 5;

/** Lets the reference point to it. Again: nothing. @param time whole seconds count @returns the commit @throws Refusal */
export async function redate(repository: Repository, ref: string, commit: string, time: Date): Promise<string> {
  const bytes = repository.read(`${commit}.commit`);
  if (bytes === undefined) throw new Refusal("not-found", commit, "there is no such commit");
  const raw = [...decodeNormal<ReadonlyArray<Value> & Value>(COMMIT, bytes)];
  // Its builder keeps them in a table without an order.
  raw[0] = [...(raw[0] as [string, Value][])].sort(([a], [b]) => (a < b ? -1 : 1));
  raw[TIME] = BigInt(Math.floor(time.getTime() / 1000));
  const made = encode(COMMIT, raw);
  const id = createHash("sha256").update(made).digest("hex");
  const path = repository.path(`${id}.commit`);
  if (!existsSync(path)) {
    await mkdir(dirname(path), { recursive: true });
    await writeWhole(path, made, 0o644);
  }
  await repository.writeRef(ref, id);
  return id;
}
