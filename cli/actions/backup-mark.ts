/** The mark of a restore under way: what finds it starts on nothing. And what makes files outlast a power cut. */
import { closeSync, fsyncSync, mkdirSync, openSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { RESTORING } from "@millrace/local/platform.ts";

export function markBegun(data: string, id: string | undefined): void {
  mkdirSync(data, { recursive: true, mode: 0o700 });
  const mark = `${JSON.stringify({ v: 1, id: id ?? null, pid: process.pid })}\n`;
  writeFileSync(join(data, RESTORING), mark, { mode: 0o600, flush: true });
  syncPath(data);
}

export function markDone(data: string): void {
  rmSync(join(data, RESTORING));
  syncPath(data);
}

export function syncTree(folder: string): void {
  for (const entry of readdirSync(folder, { withFileTypes: true, recursive: true })) {
    if (entry.isFile() || entry.isDirectory()) syncPath(join(entry.parentPath, entry.name));
  }
  syncPath(folder);
}

function syncPath(path: string): void {
  const handle = openSync(path, "r");
  try {
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}
