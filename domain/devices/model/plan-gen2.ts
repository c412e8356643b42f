/** Writes of Gen2 and later: one `SetConfig` for each component with the fields that differ; entries made, changed and removed. */

import { own } from "../../own.ts";
import {
  aligned,
  componentOf,
  dynamicComponents,
  isListName,
  type Kept,
  keptLists,
  LISTS,
  type ListName,
} from "./collections.ts";
import { isSecretReference } from "./configuration.ts";
import { type Difference, pointerOf } from "./difference.ts";
import { at, fieldOf, flagOf, isObject, listOf, numberOf, objectOf, textOf, withAt } from "./json.ts";
import type { Gen2Report, Json, JsonObject, Write } from "./report.ts";
import { CUTTING, type Made, RANKS, type Ranked, rankOf, type Unwritable, type Work } from "./work.ts";

/** What a device takes (from a summary of the maker's documents, not seen on devices). Battery devices take half as many webhooks. */
export const MOST = {
  schedules: 20,
  calls: 5,
  webhooks: 20,
  urls: 5,
  url: 300,
  keys: 50,
  key: 42,
  value: 253,
  scripts: 10,
} as const;
/** Characters of a script in one call. */
const CHUNK = 1024;

/** Names of methods where they are not the type with a capital; a device's own list wins over both. */
const NAMESPACES: Readonly<Record<string, string>> = {
  ble: "BLE",
  ws: "WS",
  knx: "KNX",
  rgb: "RGB",
  rgbw: "RGBW",
  cct: "CCT",
  rgbcct: "RGBCCT",
  em: "EM",
  em1: "EM1",
  pm1: "PM1",
  ht_ui: "HT_UI",
  plugs_ui: "PLUGS_UI",
  ui: "Ui",
  bthome: "BTHome",
  bthomedevice: "BTHomeDevice",
  bthomesensor: "BTHomeSensor",
  bthomecontrol: "BTHomeControl",
  blutrv: "BluTrv",
  devicepower: "DevicePower",
};
const namespaceOf = (type: string): string => own(NAMESPACES, type) ?? type.charAt(0).toUpperCase() + type.slice(1);

/** Everything that the making of writes collects. */
class Making {
  readonly writes: Ranked[] = [];
  readonly refused: Unwritable[] = [];
  readonly again: string[] = [];
  readonly report: Gen2Report;
  readonly #methods: ReadonlyMap<string, string> | undefined;

  constructor(report: Gen2Report) {
    this.report = report;
    this.#methods = report.methods && new Map(report.methods.map((name) => [name.toLowerCase(), name]));
  }

  /** @param method spelt as the device spells it, where it said how */
  call(
    rank: number,
    component: string,
    method: string,
    params: JsonObject,
    how: Partial<Omit<Write, "component" | "call">> = {},
  ): void {
    const spelt = this.#methods === undefined ? method : this.#methods.get(method.toLowerCase());
    if (spelt === undefined) {
      if (this.refused.some((one) => one.component === component && one.reason === "no-method")) return;
      this.refused.push({
        component,
        path: "",
        reason: "no-method",
        detail: `The device does not list ${method}.`,
        fix: "Leave it out, or bring the device to a firmware that has it.",
      });
      return;
    }
    this.writes.push({
      rank,
      write: { component, call: { method: spelt, params }, needsReboot: "never", cutsOff: false, ...how },
    });
  }

  tooMuch(component: string, path: string, detail: string): void {
    this.refused.push({ component, path, reason: "too-much", detail, fix: "Make it less." });
  }
}

export function gen2Writes({ report, desired, observed, changes }: Work): Made {
  const making = new Making(report as Gen2Report);
  const components = Map.groupBy(changes, ({ component }) => component);
  for (const [component, changed] of components) {
    if (isListName(component)) continue;
    if (component === "kvs")
      keyWrites(making, objectOf(desired.kvs), changed, Object.keys(objectOf(observed.kvs)).length);
    else if (component === "virtual") virtualWrites(making, changed, objectOf(observed.virtual));
    else if (component === "auth") authWrite(making, changed, objectOf(desired.auth));
    else configWrite(making, component, changed);
  }
  for (const name of LISTS) if (components.has(name)) listWrites(making, name, listOf(desired[name]));
  return making;
}

function configWrite(making: Making, component: string, changed: ReadonlyArray<Difference>): void {
  const { type, id } = componentOf(component);
  const profile = changed.find(({ path }) => component === "sys" && path.join(".") === "device.profile");
  const fields = changed.filter((change) => change !== profile);
  const config = configOf(fields);
  const rank = rankOf(component);
  const network = rank === CUTTING.network;
  const roams = type === "wifi" && fields.every(({ path }) => path[0] === "roam");
  if (fields.length > 0) {
    making.call(
      roams ? RANKS.system : rank,
      component,
      `${namespaceOf(type)}.SetConfig`,
      { ...(id === undefined ? {} : { id }), config },
      {
        needsReboot: "maybe",
        cutsOff: network && !roams,
      },
    );
  }
  if (profile !== undefined) {
    making.call(
      CUTTING.profile,
      component,
      "Shelly.SetProfile",
      { name: profile.desired ?? null },
      { needsReboot: "always", cutsOff: true },
    );
  }
}

const configOf = (changed: ReadonlyArray<Difference>, from = 0): JsonObject =>
  changed.reduce<JsonObject>(
    (config, { path, desired }) => withAt(config, path.slice(from), desired ?? null) as JsonObject,
    {},
  );

/** The password is hashed with the realm by who sends it: a device takes `ha1`, and never the password. */
function authWrite(making: Making, changed: ReadonlyArray<Difference>, { enable, password, ha1 }: JsonObject): void {
  if (changed.length === 0) return;
  const secret = [password, ha1].find((value) => isSecretReference(value));
  const realm = textOf(fieldOf(making.report.shelly, "id")) ?? "";
  const off = enable === false;
  if (!off && secret === undefined) return;
  making.call(
    CUTTING.auth,
    "auth",
    "Shelly.SetAuth",
    { user: "admin", realm, ha1: off ? null : secret! },
    { cutsOff: true },
  );
}

function keyWrites(making: Making, wanted: JsonObject, changed: ReadonlyArray<Difference>, there: number): void {
  const added = changed.filter(({ desired, observed }) => desired !== undefined && observed === undefined).length;
  const removed = changed.filter(({ desired }) => desired === undefined).length;
  if (there + added - removed > MOST.keys) making.tooMuch("kvs", "", `A device keeps ${MOST.keys} keys.`);
  for (const { path, desired } of changed.toSorted(
    (a, b) => Number(a.desired !== undefined) - Number(b.desired !== undefined),
  )) {
    const key = path[0]!;
    const bytes = typeof desired === "string" ? desired.length : 0;
    if (desired === undefined) making.call(RANKS.keys, "kvs", "KVS.Delete", { key });
    else if (key.length > MOST.key || bytes > MOST.value) {
      making.tooMuch("kvs", pointerOf(path), `A key has at most ${MOST.key} characters, its value ${MOST.value}.`);
    } else making.call(RANKS.keys, "kvs", "KVS.Set", { key, value: wanted[key] ?? null });
  }
}

/** Removed before made, so that there is room; groups last, because they name the others. */
function virtualWrites(making: Making, changed: ReadonlyArray<Difference>, there: JsonObject): void {
  const owned = dynamicComponents(making.report);
  const order = (key: string, gone: boolean) => (gone ? 0 : key.startsWith("group:") ? 2 : 1);
  const byKey = [...Map.groupBy(changed, ({ path }) => path[0]!)].map(([key, fields]) => ({
    key,
    fields,
    gone: fields[0]!.desired === undefined && fields[0]!.path.length === 1,
  }));
  for (const { key, fields, gone } of byKey.sort((a, b) => order(a.key, a.gone) - order(b.key, b.gone))) {
    const { type, id } = componentOf(key);
    const isNew = !Object.hasOwn(there, key);
    if (gone) making.call(RANKS.virtual, "virtual", "Virtual.Delete", { key });
    else if (id === undefined || id < 200 || id > 299 || (isNew && owned[key] !== undefined)) {
      making.refused.push({
        component: "virtual",
        path: `/${key}`,
        reason: "unknown-component",
        detail: `${key} is none that can be made.`,
        fix: "Its id is from 200 to 299, its type boolean, number, text, enum, button or group.",
      });
    } else {
      const config = isNew ? objectOf(fields[0]!.desired) : configOf(fields, 1);
      const { value, ...rest } = config;
      if (isNew) making.call(RANKS.virtual, "virtual", "Virtual.Add", { type, id, config: rest });
      else if (Object.keys(rest).length > 0)
        making.call(
          RANKS.virtual,
          "virtual",
          `${namespaceOf(type)}.SetConfig`,
          { id, config: rest },
          { needsReboot: "maybe" },
        );
      if (value !== undefined) making.call(RANKS.virtual, "virtual", "Group.Set", { id, value });
    }
  }
}

const METHODS: Readonly<Record<ListName, string>> = { schedules: "Schedule", webhooks: "Webhook", scripts: "Script" };

function listWrites(making: Making, name: ListName, wanted: ReadonlyArray<Json>): void {
  const there = keptLists(making.report)[name] ?? [];
  const { counterpart, extra } = aligned(
    name,
    wanted,
    there.map(({ entry }) => entry),
  );
  if (wanted.length > MOST[name]) making.tooMuch(name, "", `A device keeps ${MOST[name]} ${name}.`);
  for (const index of extra)
    making.call(rankOfList(name), name, `${METHODS[name]}.Delete`, { id: there[index]!.id ?? null });
  for (const [index, entry] of wanted.entries()) {
    const now = counterpart[index] === undefined ? undefined : there[counterpart[index]!]!;
    tooLong(making, name, index, entry);
    if (name === "scripts") scriptWrites(making, index, objectOf(entry), now);
    else if (now === undefined) making.call(RANKS.hooks, name, `${METHODS[name]}.Create`, objectOf(entry));
    else {
      const fields = Object.entries(objectOf(entry)).filter(
        ([field, value]) => JSON.stringify(now.entry[field]) !== JSON.stringify(value),
      );
      if (fields.length > 0)
        making.call(RANKS.hooks, name, `${METHODS[name]}.Update`, {
          id: now.id ?? null,
          ...Object.fromEntries(fields),
        });
    }
  }
}

const rankOfList = (name: ListName): number => (name === "scripts" ? RANKS.scripts : RANKS.hooks);

function tooLong(making: Making, name: ListName, index: number, entry: Json): void {
  const urls = listOf(fieldOf(entry, "urls"));
  if (listOf(fieldOf(entry, "calls")).length > MOST.calls)
    making.tooMuch(name, `/${index}/calls`, `A schedule makes at most ${MOST.calls} calls.`);
  if (urls.length > MOST.urls || urls.some((url) => typeof url === "string" && url.length > MOST.url)) {
    making.tooMuch(name, `/${index}/urls`, `A webhook has at most ${MOST.urls} addresses of ${MOST.url} characters.`);
  }
}

/** A script that is made gets its id from the device, so its code follows when that is known. */
function scriptWrites(making: Making, index: number, { name, code, enable }: JsonObject, now: Kept | undefined): void {
  const call = (method: string, params: JsonObject) => making.call(RANKS.scripts, "scripts", method, params);
  if (now === undefined) {
    call("Script.Create", { name: name ?? null });
    if (code !== "" || enable === true) making.again.push(`scripts/${index}`);
    return;
  }
  const { id, entry } = now;
  const settings = Object.entries({ name, enable }).filter(
    (field): field is [string, Json] => field[1] !== undefined && field[1] !== entry[field[0]],
  );
  if (typeof code === "string" && code !== entry.code) {
    const running = isRunning(making.report, id);
    if (running) call("Script.Stop", { id: id ?? null });
    for (const [chunk, append] of chunksOf(code)) call("Script.PutCode", { id: id ?? null, code: chunk, append });
    if (running) call("Script.Start", { id: id ?? null });
  }
  if (settings.length > 0) call("Script.SetConfig", { id: id ?? null, config: Object.fromEntries(settings) });
}

const isRunning = ({ scripts }: Gen2Report, id: number | undefined): boolean =>
  listOf(fieldOf(scripts, "scripts")).some(
    (script) => isObject(script) && numberOf(script.id) === id && flagOf(at(script, ["running"])) === true,
  );

/** Pieces that part no character; an empty code is one empty piece. */
function* chunksOf(code: string): Generator<readonly [string, boolean]> {
  let from = 0;
  do {
    let to = Math.min(code.length, from + CHUNK);
    if (to < code.length && /[\ud800-\udbff]/.test(code[to - 1]!)) to -= 1;
    yield [code.slice(from, to), from > 0];
    from = to;
  } while (from < code.length);
}
