/** A thread that looks through chunks: one after the other, as they are sent to it. */
import { parentPort } from "node:worker_threads";
import { type Finder, finderOf } from "./logs-find.ts";
import { Lines } from "./logs-lines.ts";
import { foundIn } from "./logs-look.ts";
import type { Told, Wanted } from "./logs-threads.ts";

/** Finders of searches that have come by, the latest last. */
const finders = new Map<number, Finder>();
const FINDERS_MOST = 64;

function finder({ search, match }: Wanted): Finder {
  const found = finders.get(search) ?? finderOf(match);
  finders.delete(search);
  finders.set(search, found);
  if (finders.size > FINDERS_MOST) finders.delete(finders.keys().next().value!);
  return found;
}

parentPort!.on("message", (wanted: Wanted) => {
  const began = performance.now();
  let told: Told;
  try {
    const found = foundIn(Lines.unpackSync(wanted.data, wanted.at.count), finder(wanted), wanted.at);
    told = { found, tookMs: performance.now() - began };
  } catch (error) {
    told = { failure: String((error as Error).message), tookMs: performance.now() - began };
  }
  parentPort!.postMessage(told);
});
