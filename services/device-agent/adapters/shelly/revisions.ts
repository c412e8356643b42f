/** Counters in a status that say that something other than the state has changed. */
import { isObject, type JsonObject, numberAt } from "./json.ts";

/** As the device spells them: `cfg_rev`, `kvs_rev`, `schedule_rev` …; Gen1 `cfg_changed_cnt`. */
export type Revisions = Readonly<Record<string, number>>;

const REVISION = /^[a-z]{1,24}_rev$/;

/**
 * Gen1 counts from its beginning, so that of a change before it nothing can be told: that it began anew is itself news.
 * @param before seconds since it began, as last told
 */
export function countersOf(
  status: JsonObject,
  generation: number,
  before: number | undefined,
): { readonly found: Revisions; readonly uptime: number | undefined } {
  const sys = generation === 1 ? status : status.sys;
  if (!isObject(sys)) return { found: {}, uptime: undefined };
  const uptime = numberAt(sys, "uptime");
  const found: Record<string, number> = {};
  if (generation === 1) {
    const count = numberAt(sys, "cfg_changed_cnt");
    if (count !== undefined) found.cfg_changed_cnt = count;
    if (uptime !== undefined && before !== undefined && uptime < before) found.began = Date.now();
  }
  for (const name in sys) {
    const value = sys[name];
    if (typeof value === "number" && REVISION.test(name)) found[name] = value;
  }
  return { found, uptime };
}

/** 0 to 1, always the same for a device. */
export function phase(mac: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < mac.length; i++) hash = Math.imul(hash ^ mac.charCodeAt(i), 0x01000193);
  return (hash >>> 0) / 2 ** 32;
}
