/** The alert: a condition on a series. Whether it holds is told by whoever reads the samples; what that means is decided here. */
import { ALERTS, type AlertSpec, alertEvents, alertShapes } from "@millrace/contracts/automation/alerts.ts";
import { type Actor, type Claim, type Decider, type Decision, invalid, type Refusal, rule } from "../decider.ts";
import type { EventDeclaration, Kind } from "../kind.ts";
import { first } from "../sentences.ts";

export interface AlertState {
  readonly id: string;
  readonly exists: boolean;
  readonly organisation: string;
  readonly generation: number;
  /** Null until it is created. */
  readonly spec: AlertSpec | null;
  readonly firing: { readonly since: string; readonly value: number } | null;
  readonly acknowledged: { readonly at: string; readonly by: Actor } | null;
  readonly silence: { readonly until: string; readonly reason: string; readonly by: Actor } | null;
  /** When it was resolved last. */
  readonly value: number | null;
  readonly createdAt: string;
  readonly updatedAt: string;
}

interface Seen {
  readonly seen?: number;
}

export type AlertCommand =
  | { readonly do: "create"; readonly spec: AlertSpec }
  | (Seen & { readonly do: "change" } & Partial<Pick<AlertSpec, "title" | "metric" | "labels" | "condition" | "forMs">>)
  | (Seen & { readonly do: "acknowledge" | "unsilence" | "delete" })
  | (Seen & { readonly do: "silence"; readonly until: string; readonly reason: string })
  /** What the samples say, of the spec of a generation. */
  | { readonly do: "fire"; readonly generation: number; readonly since: string; readonly value: number }
  | { readonly do: "resolve"; readonly generation: number; readonly value: number };

type Shapes = typeof alertShapes;
export type AlertEvent = { [T in keyof Shapes]: { readonly type: T; readonly data: Shapes[T]["Type"] } }[keyof Shapes];

const initial = (id: string): AlertState => ({
  id,
  exists: false,
  organisation: "",
  generation: 0,
  spec: null,
  firing: null,
  acknowledged: null,
  silence: null,
  value: null,
  createdAt: "",
  updatedAt: "",
});

export const alertNameClaim = (organisation: string, name: string): Pick<Claim, "what" | "value"> => ({
  what: "alert-name",
  value: `${organisation}/${name}`,
});

const holdName = (organisation: string, name: string, hold: boolean): Claim => ({
  ...alertNameClaim(organisation, name),
  hold,
  taken: {
    refused: "conflict",
    reason: `The organisation has an alert called "${name}".`,
    fix: "Change that one, or choose another name.",
  },
});

const notThere: Refusal = { refused: "not-found", reason: "There is no such alert." };
const overtaken: Refusal = rule("overtaken", "The alert has changed meanwhile.", "Let it pass.");

/** Hysteresis that goes the wrong way would make it fire for ever, or flap. */
function faultOf({ condition: { is, value, back }, labels = {} }: AlertSpec): Refusal | undefined {
  if (back !== undefined && (is === "above" ? back > value : back < value)) {
    return invalid(
      "/body/condition/back",
      `is on the wrong side of the threshold: at ${is === "above" ? "most" : "least"} ${value}`,
    );
  }
  if (Object.keys(labels).length > ALERTS.labels) return invalid("/body/labels", `at most ${ALERTS.labels} of them`);
  return undefined;
}

const decider: Decider<AlertState, AlertCommand, AlertEvent> = {
  initial,
  evolve: (before, event, { organisation, time, actor }) => {
    const state = { ...before, updatedAt: time };
    switch (event.type) {
      case "AlertCreated":
        return { ...state, exists: true, organisation, generation: 1, spec: event.data.spec, createdAt: time };
      case "AlertChanged":
        // What it fired for is another thing now.
        return { ...state, generation: state.generation + 1, spec: event.data.spec, firing: null, acknowledged: null };
      case "AlertFired": {
        const { since, value } = event.data;
        return { ...state, firing: { since, value }, acknowledged: null, value };
      }
      case "AlertResolved":
        return { ...state, firing: null, acknowledged: null, value: event.data.value };
      case "AlertAcknowledged":
        return { ...state, acknowledged: { at: time, by: actor } };
      case "AlertSilenced":
        return { ...state, silence: { ...event.data, by: actor } };
      case "AlertUnsilenced":
        return { ...state, silence: null };
      case "AlertDeleted":
        return { ...state, exists: false };
    }
  },
  decide: (command, state, { organisation, now }): Decision<AlertEvent> => {
    if (command.do === "create") {
      if (state.createdAt !== "") {
        return { refused: "conflict", reason: "This alert exists already.", fix: "Use another Idempotency-Key." };
      }
      const { spec } = command;
      const claims = [holdName(organisation, spec.name, true)];
      return faultOf(spec) ?? { events: [{ type: "AlertCreated", data: { spec } }], claims };
    }
    if (!state.exists || state.spec === null) return notThere;
    if ("seen" in command && command.seen !== undefined && command.seen !== state.generation) {
      return { refused: "precondition", expected: command.seen, actual: state.generation };
    }
    const { spec, firing, silence } = state;
    const { name, on, metric } = spec;
    const silenced = silence !== null && silence.until > now;
    switch (command.do) {
      case "change": {
        const { do: _, seen: __, ...change } = command;
        const after = { ...spec, ...change };
        if (JSON.stringify(after) === JSON.stringify(spec)) return { events: [] };
        return faultOf(after) ?? { events: [{ type: "AlertChanged", data: { spec: after } }] };
      }
      case "fire": {
        if (command.generation !== state.generation) return overtaken;
        const { since, value } = command;
        return {
          events: firing !== null ? [] : [{ type: "AlertFired", data: { name, on, metric, value, since, silenced } }],
        };
      }
      case "resolve": {
        if (command.generation !== state.generation) return overtaken;
        const { value } = command;
        return {
          events: firing === null ? [] : [{ type: "AlertResolved", data: { name, on, metric, value, silenced } }],
        };
      }
      case "acknowledge":
        if (firing === null)
          return rule("not-firing", "There is nothing to look after: it does not fire.", "Wait until it does.");
        return { events: state.acknowledged !== null ? [] : [{ type: "AlertAcknowledged", data: {} }] };
      case "silence": {
        const ms = Date.parse(command.until);
        if (Number.isNaN(ms)) return invalid("/body/until", "is no moment");
        const until = new Date(ms).toISOString();
        if (until <= now) return invalid("/body/until", "is past");
        return { events: [{ type: "AlertSilenced", data: { until, reason: command.reason } }] };
      }
      case "unsilence":
        return { events: silence === null ? [] : [{ type: "AlertUnsilenced", data: {} }] };
      case "delete":
        return { events: [{ type: "AlertDeleted", data: { name } }], claims: [holdName(organisation, name, false)] };
    }
  },
};

/** A minute of the series that counts, the worst of several: `[begin in milliseconds, mean]`. */
export type Minute = readonly [at: number, value: number];

const MINUTE_MS = 60_000;
/** Samples that are older say nothing of now; a hole that is longer is a break. */
const STALE_MS = 180_000;

/**
 * What stored samples say of an alert, now. Counted from them alone, so that it is the same for whoever looks, after whatever restart.
 * @param minutes in order of time
 * @returns undefined: nothing changes
 */
export function verdict(
  { spec, firing, generation }: Pick<AlertState, "spec" | "firing" | "generation">,
  minutes: ReadonlyArray<Minute>,
  nowMs: number,
): Extract<AlertCommand, { do: "fire" | "resolve" }> | undefined {
  const last = minutes.at(-1);
  if (spec === null || last === undefined || nowMs - last[0] > STALE_MS) return undefined;
  const {
    condition: { is, value: threshold, back = threshold },
    forMs,
  } = spec;
  const breaches = (value: number): boolean => (is === "above" ? value > threshold : value < threshold);
  if (firing !== null) {
    const over = is === "above" ? last[1] <= back : last[1] >= back;
    return over && !(back === threshold && breaches(last[1]))
      ? { do: "resolve", generation, value: last[1] }
      : undefined;
  }
  if (!breaches(last[1])) return undefined;
  let since = last[0];
  for (const [at, value] of minutes.toReversed()) {
    if (!breaches(value) || since - at > STALE_MS) break;
    since = at;
  }
  // The last minute is still going on, and counts as far as it has come.
  const held = Math.min(nowMs, last[0] + MINUTE_MS) - since;
  return held >= forMs ? { do: "fire", generation, value: last[1], since: new Date(since).toISOString() } : undefined;
}

const on = { kind: "application" as const, id: "app_01kajzq4v0e8r9t2m5x7c3d6fg" };
const spec: AlertSpec = {
  name: "site-memory",
  on,
  metric: "memory_bytes",
  condition: { is: "above", value: 400_000_000, back: 300_000_000 },
  forMs: 300_000,
};
const about = { name: "site-memory", on, metric: "memory_bytes" };
const since = "2026-11-21T08:00:00.000Z";

const events: Readonly<Record<AlertEvent["type"], EventDeclaration>> = {
  AlertCreated: first(alertShapes.AlertCreated, { spec }, (data) => `created the alert ${data.spec.name}`),
  AlertChanged: first(
    alertShapes.AlertChanged,
    { spec },
    (data) => `changed it: ${data.spec.metric} ${data.spec.condition.is} ${data.spec.condition.value}`,
  ),
  AlertFired: first(
    alertShapes.AlertFired,
    { ...about, value: 5e8, since, silenced: false },
    ({ metric, value, since }) => `fired: ${metric} is ${value}, since ${since}`,
  ),
  AlertResolved: first(
    alertShapes.AlertResolved,
    { ...about, value: 2e8, silenced: false },
    ({ metric, value }) => `resolved it: ${metric} is ${value}`,
  ),
  AlertAcknowledged: first(alertShapes.AlertAcknowledged, {}, () => "looks after it"),
  AlertSilenced: first(
    alertShapes.AlertSilenced,
    { until: since, reason: "We know" },
    ({ until, reason }) => `silenced it until ${until}: ${reason}`,
  ),
  AlertUnsilenced: first(alertShapes.AlertUnsilenced, {}, () => "ended its silence"),
  AlertDeleted: first(alertShapes.AlertDeleted, { name: "site-memory" }, ({ name }) => `deleted the alert ${name}`),
};

export const alert: Kind<AlertState, AlertCommand, AlertEvent> = {
  context: "automation",
  kind: "alert",
  prefix: "alr",
  collection: "alerts",
  decider,
  events,
  publicEvents: alertEvents,
  generation: (state) => state.generation,
  exists: (state) => state.exists,
  represent: ({ id, organisation, generation, spec, firing, acknowledged, silence, value, createdAt, updatedAt }) => ({
    id,
    organisation,
    generation,
    spec,
    status: {
      state: firing === null ? "ok" : "firing",
      ...(firing === null ? {} : { since: firing.since }),
      ...(value === null ? {} : { value }),
      ...(acknowledged === null ? {} : { acknowledged }),
      ...(silence === null ? {} : { silence }),
    },
    createdAt,
    updatedAt,
  }),
  nameClaim: alertNameClaim,
  stateVersion: 1,
};
