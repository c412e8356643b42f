/** Writes of Gen1: HTTP with a query, one call for each path, only the parameters that differ. */
import { gen1Action, keptLists } from "./collections.ts";
import { isSecretReference } from "./configuration.ts";
import { type Difference, pointerOf } from "./difference.ts";
import { type Setting, settingsOf } from "./gen1.ts";
import { GEN1_SECRETS } from "./gen1-map.ts";
import { at, equal, fieldOf, isObject, listOf, nearest, numberOf, objectOf, pathText, textOf } from "./json.ts";
import type { Gen1Report, Json, JsonObject, QueryValue, SecretReference, Write } from "./report.ts";
import { CUTTING, type Made, RANKS, type Ranked, rankOf, type Unwritable, type Work } from "./work.ts";

interface Parameter {
  readonly component: string;
  readonly path: string;
  readonly name: string;
  readonly value: QueryValue | SecretReference;
  readonly rank: number;
  readonly needsReboot: Write["needsReboot"];
  readonly cutsOff: boolean;
}

export function gen1Writes({ report, desired, changes }: Work): Made {
  const refused: Unwritable[] = [];
  const parameters: Parameter[] = [];
  const settings = settingsOf(report as Gen1Report);
  const done = new Set<Setting>();
  for (const change of changes.filter(({ component }) => component !== "webhooks")) {
    const { component, path } = change;
    const field = pathText(path);
    const secret = GEN1_SECRETS[`${component}.${field}`];
    if (secret !== undefined && isSecretReference(change.desired)) {
      parameters.push({ component, ...secret, value: change.desired, rank: rankOf(component), needsReboot: "never" });
      continue;
    }
    const setting = settings.find((one) => one.component === component && one.codec.fields.includes(field));
    if (setting === undefined) refused.push(unknown(change, settings));
    else if (!done.has(setting)) {
      done.add(setting);
      const made = parametersOf(setting, desired[component]);
      if ("reason" in made) refused.push({ ...made, component, path: pointerOf(path) });
      else parameters.push(...made.parameters);
    }
  }
  const hooked = changes.some(({ component }) => component === "webhooks");
  const actions = hooked ? actionWrites(report as Gen1Report, listOf(desired.webhooks), refused) : [];
  return { writes: [...grouped(parameters), ...actions], refused, again: [] };
}

const unknown = ({ component, path }: Difference, settings: ReadonlyArray<Setting>): Unwritable => {
  const fields = settings.filter((one) => one.component === component).flatMap(({ codec }) => codec.fields);
  const near = nearest(pathText(path), fields);
  return {
    component,
    path: pointerOf(path),
    reason: "unknown-field",
    detail: `The device has no ${pathText(path)} in ${component}.`,
    fix: near === undefined ? `It has ${fields.join(", ") || "nothing that can be written"}.` : `Did you mean ${near}?`,
  };
};

type Refusal = Pick<Unwritable, "reason" | "detail" | "fix">;

function parametersOf(setting: Setting, wanted: Json | undefined): { parameters: Parameter[] } | Refusal {
  const { codec, value, write, component, reboots, cutsOff, numeric } = setting;
  const now = new Map(codec.decode(value));
  const said = (name: string): Json | undefined => at(wanted, name.split("."));
  const raw = codec.encode((name) => (said(name) === undefined ? now.get(name) : said(name)), value);
  if (raw === undefined) {
    return {
      reason: "wrong-value",
      detail: `No setting of this device says ${codec.fields.join(" and ")} like this.`,
      fix: "Give both, as the device can have them.",
    };
  }
  if (write === undefined) {
    return {
      reason: "read-only",
      detail: `No call is known that writes ${codec.fields.join(", ")}.`,
      fix: "Leave it out.",
    };
  }
  const rank =
    pathText(setting.raw) === "mode"
      ? CUTTING.profile
      : reboots
        ? RANKS.restarting
        : setting.cutsOff || component === "auth"
          ? rankOf(component)
          : Math.min(rankOf(component), RANKS.system);
  const needsReboot = reboots || NEEDS_RESTART.has(component) ? "always" : "never";
  const parameter = (name: string, value: Json): Parameter => ({
    component,
    path: write.path,
    name,
    value: textOfQuery(value, numeric),
    rank,
    needsReboot,
    cutsOff,
  });
  if (!isObject(raw)) return { parameters: [parameter(write.name, raw)] };
  const changed = Object.entries(raw).filter(([name, inner]) => !equal(inner, fieldOf(value, name)));
  return { parameters: changed.map(([name, inner]) => parameter(name, inner)) };
}

/** Taken into use at the next start only (documented by its users for the CoIoT peer). */
const NEEDS_RESTART = new Set(["coiot"]);

const textOfQuery = (value: Json, numeric: boolean): string => {
  if (value === null) return "";
  if (typeof value === "boolean" && numeric) return value ? "1" : "0";
  if (Array.isArray(value))
    return value.map((item) => (typeof item === "string" ? item : JSON.stringify(item))).join(",");
  return typeof value === "string" ? value : JSON.stringify(value);
};

/** One call for each path, and apart what must come last. */
function grouped(parameters: ReadonlyArray<Parameter>): ReadonlyArray<Ranked> {
  const calls = new Map<string, Parameter[]>();
  for (const parameter of parameters) {
    const key = `${parameter.rank < CUTTING.auth ? "" : parameter.rank} ${parameter.path}`;
    calls.set(key, [...(calls.get(key) ?? []), parameter]);
  }
  return [...calls.values()].map((group) => ({
    rank: Math.max(...group.map(({ rank }) => rank)),
    write: {
      component: group[0]!.component,
      call: {
        path: group[0]!.path,
        // A secret stands by its reference until it is sent.
        query: Object.fromEntries(group.map(({ name, value }) => [name, value])) as Record<string, QueryValue>,
      },
      needsReboot: group.some(({ needsReboot }) => needsReboot === "always") ? "always" : "never",
      cutsOff: group.some(({ cutsOff }) => cutsOff),
    },
  }));
}

/** Actions are all there always, each by its event and index: one that is not wanted is emptied. */
function actionWrites(report: Gen1Report, wanted: ReadonlyArray<Json>, refused: Unwritable[]): ReadonlyArray<Ranked> {
  const keyOf = (entry: Json) => `${textOf(fieldOf(entry, "event")) ?? ""} ${numberOf(fieldOf(entry, "cid")) ?? 0}`;
  const kept = new Map((keptLists(report).webhooks ?? []).map(({ entry }) => [keyOf(entry), entry]));
  const writes: Ranked[] = [];
  for (const [place, item] of wanted.entries()) {
    const entry = objectOf(item);
    const [event, index] = [textOf(entry.event) ?? "", numberOf(entry.cid) ?? 0];
    const now = kept.get(keyOf(entry));
    kept.delete(keyOf(entry));
    if (now !== undefined && Object.entries(entry).every(([name, value]) => equal(value, now[name]))) continue;
    if (gen1Action(report, event, index) === undefined) refused.push(noAction(report, place, event, index));
    else writes.push({ rank: RANKS.hooks, write: actionWrite(event, index, entry) });
  }
  const gone = [...kept.values()].map(({ event, cid }) =>
    actionWrite(textOf(event)!, numberOf(cid)!, { enable: false, urls: [] }),
  );
  return [...writes, ...gone.map((write) => ({ rank: RANKS.hooks, write }))];
}

function noAction({ actions }: Gen1Report, place: number, event: string, index: number): Unwritable {
  const events = Object.keys(objectOf(fieldOf(actions, "actions")));
  const near = nearest(event, events);
  return {
    component: "webhooks",
    path: `/${place}/event`,
    reason: "unknown-field",
    detail: `The device has no action ${event || "without a name"} of ${index}.`,
    fix: near === undefined ? `It has ${events.join(", ") || "none that were read"}.` : `Did you mean ${near}?`,
  };
}

function actionWrite(event: string, index: number, { event: _, cid: __, enable, urls, ...others }: JsonObject): Write {
  const list = listOf(urls);
  const [key, value]: [string, QueryValue] = [
    "urls[]",
    list.map((url) => (isObject(url) ? "" : textOfQuery(url, false))),
  ];
  const timed = list.some(isObject);
  const addresses = timed
    ? Object.fromEntries(
        list.flatMap((item, at) =>
          Object.entries(objectOf(item)).map(([name, inner]) => [`urls[${at}][${name}]`, textOfQuery(inner, false)]),
        ),
      )
    : { [key]: list.length === 0 ? "" : list.length === 1 ? value[0]! : value };
  return {
    component: "webhooks",
    call: {
      path: "/settings/actions",
      query: {
        index: String(index),
        name: event,
        ...(enable === undefined ? {} : { enabled: textOfQuery(enable, false) }),
        ...(urls === undefined ? {} : addresses),
        ...Object.fromEntries(Object.entries(others).map(([name, inner]) => [name, textOfQuery(inner, false)])),
      },
    },
    needsReboot: "never",
    cutsOff: false,
  };
}
