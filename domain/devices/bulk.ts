/** Bulk operations: a task for each of many devices, at most so many at once; results stand in the tasks, counts and failures here. */
import * as shape from "@millrace/contracts/devices/operation-events.ts";
import type { BULK_STATES, Counts, RESULTS } from "@millrace/contracts/devices/operations.ts";
import { LIMITS, type Outcome } from "@millrace/contracts/devices/values.ts";
import { isId } from "@millrace/contracts/ids.ts";
import { type Actor, type Decider, type Decision, type EventMeta, invalid, type Refusal, rule } from "../decider.ts";
import type { Kind } from "../kind.ts";
import { excerpt, first } from "../sentences.ts";
import { overtaken } from "./device-decide.ts";
import { askedText } from "./task-events.ts";
import { wishFaults, wishText } from "./wish.ts";

type Tasks = (typeof shape.BulkRequested)["Type"];
type Wishes = (typeof shape.BulkConfigureRequested)["Type"];
export type BulkSpec = Omit<Tasks, "asked"> & { readonly asked: Tasks["asked"] | Wishes["asked"] };
export type CountsOf = typeof Counts.Type;

export interface BulkState {
  readonly id: string;
  readonly exists: boolean;
  readonly organisation: string;
  readonly spec: BulkSpec | null;
  readonly state: (typeof BULK_STATES)[number];
  /** Which devices it is about is not found yet. */
  readonly selecting: boolean;
  /** So many devices, from the front, were asked or refused. */
  readonly cursor: number;
  /** Task by device. */
  readonly running: Readonly<Record<string, string>>;
  /** What came of each device up to the cursor, a character each, as in `RESULT_OF`. */
  readonly results: string;
  readonly counts: CountsOf;
  /** How many had ended, and failed, when it was last resumed: the share is counted from there. */
  readonly base: { readonly ended: number; readonly failed: number };
  readonly failures: ReadonlyArray<{ readonly device: string; readonly task?: string; readonly reason: string }>;
  readonly requestedBy: Actor | null;
  readonly finishedAt: string | null;
  readonly createdAt: string;
  readonly updatedAt: string;
}

export type BulkCommand =
  | ({ readonly do: "request" } & BulkSpec)
  | { readonly do: "pause" | "resume" | "cancel" }
  /** What its selection finds as it begins. */
  | { readonly do: "select"; readonly devices: ReadonlyArray<string> }
  /** With the device's `enqueue` and the task's `request`, all or nothing. */
  | { readonly do: "ask"; readonly device: string; readonly task: string }
  /** It could not be asked of this device: the refusal's reason. */
  | { readonly do: "refuse"; readonly device: string; readonly reason: string }
  /** With the device's `wish`, all or nothing, where that changes something and it is no dry run. */
  | { readonly do: "configured"; readonly device: string; readonly changed: boolean }
  /** With the task's end, all or nothing. */
  | {
      readonly do: "settle";
      readonly device: string;
      readonly task: string;
      readonly outcome: Outcome;
      readonly reason?: string;
    }
  /** With the roll-out's `endStage` where it belongs to one, all or nothing. */
  | { readonly do: "complete" };

/** Character by which the state keeps a result. */
export const RESULT_OF = {
  r: "running",
  s: "succeeded",
  u: "unchanged",
  f: "failed",
  e: "expired",
  c: "cancelled",
  n: "refused",
} as const satisfies Readonly<Record<string, (typeof RESULTS)[number]>>;
const ENDED = { succeeded: "s", failed: "f", expired: "e", cancelled: "c" } as const;

/** What came of one device. @param at its place among the devices of the operation */
export const resultAt = ({ results }: Pick<BulkState, "results">, at: number): (typeof RESULTS)[number] =>
  RESULT_OF[results[at] as keyof typeof RESULT_OF] ?? "waiting";

export const NONE: CountsOf = { succeeded: 0, failed: 0, expired: 0, cancelled: 0, refused: 0 };
export const failedOf = ({ failed, expired, refused }: CountsOf): number => failed + expired + refused;
export const endedOf = (counts: CountsOf): number => failedOf(counts) + counts.succeeded + counts.cancelled;
/** As many as have to have ended at least for a share to mean anything. */
const SHARE_OF = 5;

export const isTooMany = (failed: number, ended: number, percent: number): boolean =>
  failed * 100 > percent * Math.max(ended, SHARE_OF);

export const isBulkOver = ({ state }: Pick<BulkState, "state">): boolean =>
  state === "completed" || state === "cancelled";

type Event = {
  [T in keyof typeof shape.bulkEvents]: { readonly type: T; readonly data: (typeof shape)[T]["Type"] };
}[keyof typeof shape.bulkEvents];

function evolve(before: BulkState, event: Event, { time, organisation, actor }: EventMeta): BulkState {
  const state = { ...before, updatedAt: time };
  const failure = (device: string, reason: string, task?: string) =>
    before.failures.length >= LIMITS.failures
      ? before.failures
      : [...before.failures, { device, ...(task === undefined ? {} : { task }), reason }];
  switch (event.type) {
    case "BulkRequested":
    case "BulkConfigureRequested": {
      const made = {
        spec: event.data as BulkSpec,
        exists: true,
        organisation,
        requestedBy: actor,
        createdAt: time,
      } as const;
      return { ...state, ...made, selecting: event.data.select !== undefined };
    }
    case "BulkDevicesSelected":
      return { ...state, spec: { ...before.spec!, devices: event.data.devices }, selecting: false };
    case "BulkTaskAsked": {
      const { device, task } = event.data;
      const results = `${before.results}r`;
      return { ...state, cursor: before.cursor + 1, running: { ...before.running, [device]: task }, results };
    }
    case "BulkDeviceRefused": {
      const { device, reason } = event.data;
      const counts = { ...before.counts, refused: before.counts.refused + 1 };
      const results = `${before.results}n`;
      return { ...state, cursor: before.cursor + 1, counts, failures: failure(device, reason), results };
    }
    case "BulkDeviceConfigured": {
      const counts = { ...before.counts, succeeded: before.counts.succeeded + 1 };
      const results = before.results + (event.data.changed ? "s" : "u");
      return { ...state, cursor: before.cursor + 1, counts, results };
    }
    case "BulkTaskEnded": {
      const { device, task, outcome } = event.data;
      const { [device]: _, ...running } = before.running;
      const counts = { ...before.counts, [outcome]: before.counts[outcome] + 1 };
      const isFailure = outcome === "failed" || outcome === "expired";
      const at = before.spec!.devices.indexOf(device);
      const results = before.results.slice(0, at) + ENDED[outcome] + before.results.slice(at + 1);
      return { ...state, running, counts, results, ...(isFailure ? { failures: failure(device, outcome, task) } : {}) };
    }
    case "BulkPaused":
      return { ...state, state: "paused" };
    case "BulkHalted":
      return { ...state, state: "halted" };
    case "BulkResumed":
      return {
        ...state,
        state: "running",
        base: { ended: endedOf(before.counts), failed: failedOf(before.counts) },
      };
    case "BulkCancellationRequested":
      return { ...state, state: "cancelling" };
    case "BulkCompleted":
      return { ...state, state: "completed", finishedAt: time };
    case "BulkCancelled":
      return { ...state, state: "cancelled", finishedAt: time };
  }
}

const notThere: Refusal = { refused: "not-found", reason: "There is no such bulk operation." };

function decide(command: BulkCommand, state: BulkState): Decision<Event> {
  if (command.do === "request") return request(command, state);
  if (!state.exists) return notThere;
  switch (command.do) {
    case "pause":
    case "resume":
    case "cancel":
      return steer(command.do, state);
    case "complete":
      if (nextOfBulk(state)?.do.kind !== "complete") return overtaken("It has not come to its end.");
      return {
        events: [{ type: state.state === "cancelling" ? "BulkCancelled" : "BulkCompleted", data: state.counts }],
      };
    case "select": {
      if (!state.selecting) return overtaken("Its devices are found already.");
      const devices = [...new Set(command.devices)].sort().slice(0, LIMITS.selected);
      return { events: [{ type: "BulkDevicesSelected", data: { devices } }] };
    }
    case "settle": {
      const { device, task, outcome } = command;
      if (state.running[device] !== task) return { events: [] };
      return halting(state, { type: "BulkTaskEnded", data: { device, task, outcome } });
    }
    default: {
      const next = nextOfBulk(state)?.do;
      const turn = command.do === "refuse" ? next?.kind : { ask: "ask", configured: "configure" }[command.do];
      if (next === undefined || !("device" in next) || next.kind !== turn || next.device !== command.device) {
        return overtaken("It is not this device's turn.");
      }
      const { device } = command;
      if (command.do === "configured") {
        return { events: [{ type: "BulkDeviceConfigured", data: { device, changed: command.changed } }] };
      }
      if (command.do === "ask") return { events: [{ type: "BulkTaskAsked", data: { device, task: command.task } }] };
      return halting(state, { type: "BulkDeviceRefused", data: { device, reason: excerpt(command.reason) } });
    }
  }
}

function request({ do: _, ...spec }: Extract<BulkCommand, { do: "request" }>, state: BulkState): Decision<Event> {
  if (state.createdAt !== "") {
    return { refused: "conflict", reason: "This operation exists already.", fix: "Use another Idempotency-Key." };
  }
  const { devices, select } = spec;
  if (devices.length === 0 && select === undefined) {
    return rule(
      "nothing-selected",
      "No device is selected by this.",
      "Look at what `GET …/devices` finds by the same fields.",
    );
  }
  if (devices.length > LIMITS.selected) {
    return invalid("/body/select", `selects ${devices.length} devices; at most ${LIMITS.selected}`, "Do it in parts.");
  }
  if (!devices.every((id) => isId("dev", id)) || new Set(devices).size < devices.length) {
    return invalid("/body/select/ids", "ids of devices, each once");
  }
  const { asked, ...rest } = spec;
  if (asked.kind !== "configure") return { events: [{ type: "BulkRequested", data: { ...rest, asked } }] };
  const faults = wishFaults(asked, "/action").refusal();
  return faults ?? { events: [{ type: "BulkConfigureRequested", data: { ...rest, asked } }] };
}

/** With the halt that it may lead to. */
function halting(
  state: BulkState,
  event: Extract<Event, { type: "BulkTaskEnded" | "BulkDeviceRefused" }>,
): Decision<Event> {
  const after = evolve(state, event, { time: "", organisation: "", actor: state.requestedBy! });
  const failed = failedOf(after.counts) - after.base.failed;
  const ended = endedOf(after.counts) - after.base.ended;
  const isLeft = after.cursor < after.spec!.devices.length;
  const halts = after.state === "running" && isLeft && isTooMany(failed, ended, after.spec!.haltAtPercent);
  return { events: halts ? [event, { type: "BulkHalted", data: { failures: failed, of: ended } }] : [event] };
}

function steer(verb: "pause" | "resume" | "cancel", state: BulkState): Decision<Event> {
  if (isBulkOver(state) || (state.state === "cancelling" && verb !== "cancel")) {
    return rule("bulk-over", `The operation is ${state.state}.`, "Start another for the devices that are left.");
  }
  if (verb === "cancel") {
    return { events: state.state === "cancelling" ? [] : [{ type: "BulkCancellationRequested", data: {} }] };
  }
  if (verb === "pause") return { events: state.state === "running" ? [{ type: "BulkPaused", data: {} }] : [] };
  return { events: state.state === "running" ? [] : [{ type: "BulkResumed", data: {} }] };
}

export type BulkStep =
  /** `ask` with the parts of `requestTask`, or `refuse`. The task's id is made by whoever does it. */
  | { readonly kind: "ask"; readonly device: string }
  /** `configured` with the device's `wish`, or `refuse`. */
  | { readonly kind: "configure"; readonly device: string }
  /** Find which devices it is about. */
  | { readonly kind: "select" }
  | { readonly kind: "complete" };

/** What is to be done about a bulk operation now. It is woken by its own commits, whenever a task of it ends. */
export function nextOfBulk(bulk: BulkState): undefined | { readonly do: BulkStep } {
  const { exists, spec, state, cursor, running, selecting } = bulk;
  if (!exists || spec === null || isBulkOver({ state })) return undefined;
  if (selecting && state !== "cancelling") return state === "running" ? { do: { kind: "select" } } : undefined;
  const under = Object.keys(running).length;
  const device = state === "cancelling" ? undefined : spec.devices[cursor];
  if (device === undefined) return under === 0 ? { do: { kind: "complete" } } : undefined;
  if (spec.asked.kind === "configure") {
    return state === "running" ? { do: { kind: "configure", device } } : undefined;
  }
  return state === "running" && under < spec.atOnce ? { do: { kind: "ask", device } } : undefined;
}

const device = "dev_01kajzq4v0e8r9t2m5x7c3d6fg";
const task = "tsk_01kajzq4v0e8r9t2m5x7c3d6fg";
const many = (devices: number): string => (devices === 1 ? "one device" : `${devices} devices`);
const told = ({ succeeded, ...counts }: CountsOf): string =>
  `${succeeded} succeeded, ${failedOf({ succeeded, ...counts })} failed${counts.cancelled > 0 ? `, ${counts.cancelled} cancelled` : ""}`;

export const bulk: Kind<BulkState, BulkCommand, Event> = {
  context: "devices",
  kind: "bulk",
  prefix: "blk",
  collection: "device-bulks",
  decider: {
    initial: (id) => ({
      id,
      exists: false,
      organisation: "",
      spec: null,
      state: "running",
      selecting: false,
      cursor: 0,
      running: {},
      results: "",
      counts: NONE,
      base: { ended: 0, failed: 0 },
      failures: [],
      requestedBy: null,
      finishedAt: null,
      createdAt: "",
      updatedAt: "",
    }),
    evolve,
    decide,
  } satisfies Decider<BulkState, BulkCommand, Event>,
  events: {
    BulkRequested: first(
      shape.BulkRequested,
      {
        asked: { kind: "apply", dryRun: false },
        devices: [device],
        atOnce: 10,
        haltAtPercent: 20,
        expiresInMs: 86_400_000,
        profile: "prf_01kajzq4v0e8r9t2m5x7c3d6fg",
      },
      ({ asked, devices, select }) =>
        `asked ${select === undefined ? many(devices.length) : "what a selection finds"} for ${askedText(asked)}`,
    ),
    BulkConfigureRequested: first(
      shape.BulkConfigureRequested,
      {
        asked: { kind: "configure", dryRun: false, addTags: ["floor/1"] },
        devices: [device],
        atOnce: 10,
        haltAtPercent: 20,
        expiresInMs: 86_400_000,
      },
      ({ asked, devices, select }) =>
        `asked for ${wishText(asked)} of ${select === undefined ? many(devices.length) : "what a selection finds"}`,
    ),
    BulkDevicesSelected: first(
      shape.BulkDevicesSelected,
      { devices: [device] },
      ({ devices }) => `found what it is about: ${many(devices.length)}`,
    ),
    BulkTaskAsked: first(shape.BulkTaskAsked, { device, task }, (data) => `asked ${data.device} for it`),
    BulkDeviceRefused: first(
      shape.BulkDeviceRefused,
      { device, reason: "There is no such device." },
      (data) => `could not ask ${data.device}: ${excerpt(data.reason)}`,
    ),
    BulkDeviceConfigured: first(shape.BulkDeviceConfigured, { device, changed: true }, (data) =>
      data.changed ? `changed what is wanted of ${data.device}` : `found ${data.device} wanting it already`,
    ),
    BulkTaskEnded: first(
      shape.BulkTaskEnded,
      { device, task, outcome: "succeeded" },
      (data) => `saw it end on ${data.device}: ${data.outcome}`,
    ),
    BulkPaused: first(shape.BulkPaused, {}, () => "paused it"),
    BulkResumed: first(shape.BulkResumed, {}, () => "lets it go on"),
    BulkHalted: first(
      shape.BulkHalted,
      { failures: 3, of: 7 },
      ({ failures, of }) => `halted it: ${failures} of ${of} failed`,
    ),
    BulkCancellationRequested: first(shape.BulkCancellationRequested, {}, () => "asked for it to be cancelled"),
    BulkCompleted: first(shape.BulkCompleted, NONE, (counts) => `ended it: ${told(counts)}`),
    BulkCancelled: first(shape.BulkCancelled, NONE, (counts) => `ended it, cancelled: ${told(counts)}`),
  },
  publicEvents: shape.bulkEvents,
  generation: () => 1,
  exists: (state) => state.exists,
  over: isBulkOver,
  represent: (state) => {
    const { devices, ...spec } = state.spec!;
    return {
      id: state.id,
      organisation: state.organisation,
      generation: 1,
      spec: { ...spec, devices: devices.length },
      status: {
        state: state.state,
        waiting: devices.length - state.cursor,
        running: Object.entries(state.running).map(([of, its]) => ({ device: of, task: its })),
        ...state.counts,
        failures: state.failures,
        ...(state.finishedAt === null ? {} : { finishedAt: state.finishedAt }),
      },
      requestedBy: state.requestedBy!,
      createdAt: state.createdAt,
      updatedAt: state.updatedAt,
    };
  },
  stateVersion: 3,
};
