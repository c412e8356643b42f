/** Roll-outs: firmware for many devices in stages, each a bulk operation of its own; too many failures halt it. */
import * as shape from "@millrace/contracts/devices/operation-events.ts";
import type { ROLLOUT_STATES } from "@millrace/contracts/devices/operations.ts";
import { LIMITS } from "@millrace/contracts/devices/values.ts";
import {
  type Actor,
  type Circumstances,
  type Decider,
  type Decision,
  type EventMeta,
  invalid,
  type Refusal,
  rule,
} from "../decider.ts";
import type { Kind } from "../kind.ts";
import { nameClaims } from "../names.ts";
import { first } from "../sentences.ts";
import { type BulkCommand, type CountsOf, failedOf, NONE } from "./bulk.ts";
import { overtaken } from "./device-decide.ts";
import type { Next } from "./task-next.ts";

export type RolloutSpec = (typeof shape.RolloutStarted)["Type"];

export interface RolloutState {
  readonly id: string;
  readonly exists: boolean;
  readonly organisation: string;
  readonly spec: RolloutSpec | null;
  readonly state: (typeof ROLLOUT_STATES)[number];
  /** Which devices it is about is not found yet. */
  readonly selecting: boolean;
  /** Number of the stage that is under way, or next. */
  readonly stage: number;
  readonly bulk: string | null;
  /** The bulk operation of the stage has not ended. */
  readonly isUnderWay: boolean;
  readonly counts: CountsOf;
  /** When the last stage ended. */
  readonly stageEndedAt: string | null;
  readonly requestedBy: Actor | null;
  readonly finishedAt: string | null;
  readonly createdAt: string;
  readonly updatedAt: string;
}

export type RolloutCommand =
  | ({ readonly do: "start" } & RolloutSpec)
  | { readonly do: "pause" | "resume" | "cancel" }
  /** What its selection finds as it begins. */
  | { readonly do: "select"; readonly devices: ReadonlyArray<string> }
  /** With the bulk operation's `request`, all or nothing: `stageOf`. */
  | { readonly do: "beginStage"; readonly stage: number; readonly bulk: string }
  /** With the bulk operation's `complete`, all or nothing. */
  | { readonly do: "endStage"; readonly bulk: string; readonly counts: CountsOf };

type Event = {
  [T in keyof typeof shape.rolloutEvents]: { readonly type: T; readonly data: (typeof shape)[T]["Type"] };
}[keyof typeof shape.rolloutEvents];

const names = nameClaims("roll-out");

const isOver = ({ state }: Pick<RolloutState, "state">): boolean => state === "completed" || state === "cancelled";

/** One device, 5 %, 25 %, the rest. */
export const STAGES_USUAL = [{ devices: 1 }, { percent: 5 }, { percent: 25 }] as const;

/** How many devices each stage is about. @param stages as asked; shares count those before */
export function stageSizes(
  total: number,
  stages: ReadonlyArray<{ readonly devices: number } | { readonly percent: number }>,
): ReadonlyArray<number> {
  let done = 0;
  const sizes: number[] = [];
  for (const stage of [...stages, { percent: 100 }]) {
    const upTo = "devices" in stage ? done + stage.devices : Math.ceil((total * stage.percent) / 100);
    const size = Math.min(total, Math.max(done, upTo)) - done;
    if (size > 0) sizes.push(size);
    done += size;
  }
  return sizes;
}

/** What the bulk operation of a stage is asked. */
export function stageOf({ id, spec, stage }: RolloutState): Extract<BulkCommand, { do: "request" }> {
  const { stages, devices, firmware, atOnce, haltAtPercent, expiresInMs } = spec!;
  const from = stages.slice(0, stage).reduce((sum, size) => sum + size, 0);
  return {
    do: "request",
    asked: { kind: "firmware", ...firmware },
    devices: devices.slice(from, from + stages[stage]!),
    atOnce,
    haltAtPercent,
    expiresInMs,
    rollout: id,
  };
}

function evolve(before: RolloutState, event: Event, { time, organisation, actor }: EventMeta): RolloutState {
  const state = { ...before, updatedAt: time };
  switch (event.type) {
    case "RolloutStarted":
      return {
        ...state,
        ...{ spec: event.data, exists: true, organisation, requestedBy: actor, createdAt: time },
        selecting: event.data.select !== undefined,
      };
    case "RolloutDevicesSelected":
      return { ...state, spec: { ...before.spec!, ...event.data }, selecting: false };
    case "StageBegun":
      return { ...state, bulk: event.data.bulk, isUnderWay: true, state: "running" };
    case "StageEnded": {
      const { stage, bulk: _, ...counts } = event.data;
      const sum = Object.fromEntries(
        Object.entries(counts).map(([name, n]) => [name, n + before.counts[name as keyof CountsOf]]),
      ) as CountsOf;
      const next = before.state === "running" ? ("soaking" as const) : before.state;
      return { ...state, state: next, isUnderWay: false, stage: stage + 1, counts: sum, stageEndedAt: time };
    }
    case "RolloutPaused":
      return { ...state, state: "paused" };
    case "RolloutHalted":
      return { ...state, state: "halted" };
    case "RolloutResumed":
      return { ...state, state: before.isUnderWay ? "running" : "soaking" };
    case "RolloutCompleted":
      return { ...state, state: "completed", finishedAt: time };
    case "RolloutCancelled":
      return { ...state, state: "cancelled", finishedAt: time };
  }
}

const notThere: Refusal = { refused: "not-found", reason: "There is no such roll-out." };

function decide(command: RolloutCommand, state: RolloutState, { organisation, now }: Circumstances): Decision<Event> {
  if (command.do === "start") {
    const { do: _, ...spec } = command;
    if (state.createdAt !== "") {
      return { refused: "conflict", reason: "This roll-out exists already.", fix: "Use another Idempotency-Key." };
    }
    const { devices, firmware, select } = spec;
    if (devices.length === 0 && select === undefined) {
      return rule(
        "nothing-selected",
        "No device is selected by this.",
        "Look at what `GET …/devices` finds by the same fields.",
      );
    }
    if (devices.length > LIMITS.selected) return invalid("/body/select", `at most ${LIMITS.selected} devices`);
    if (firmware.stage !== undefined && firmware.url !== undefined) {
      return invalid("/body/firmware/url", "cannot be given together with a stage", "Give one of the two.");
    }
    const claims = [names.claim(organisation, spec.name, true)];
    return { events: [{ type: "RolloutStarted", data: spec }], claims };
  }
  if (!state.exists) return notThere;
  switch (command.do) {
    case "beginStage": {
      const next = nextOfRollout(state, Date.parse(now));
      const step = next !== undefined && "do" in next ? next.do : undefined;
      if (step?.kind !== "stage" || step.stage !== command.stage) return overtaken("It is not this stage's turn.");
      return { events: [{ type: "StageBegun", data: { stage: command.stage, bulk: command.bulk } }] };
    }
    case "select":
      return selected(command.devices, state, organisation);
    case "endStage":
      return endStage(command, state, organisation);
    default:
      return steer(command.do, state, organisation);
  }
}

function selected(found: ReadonlyArray<string>, state: RolloutState, organisation: string): Decision<Event> {
  if (!state.selecting) return overtaken("Its devices are found already.");
  const devices = [...new Set(found)].sort().slice(0, LIMITS.selected);
  const stages = stageSizes(devices.length, state.spec!.stagesAsked ?? STAGES_USUAL);
  const event: Event = { type: "RolloutDevicesSelected", data: { devices, stages } };
  if (devices.length > 0 || isOver(state)) return { events: [event] };
  const claims = [names.claim(organisation, state.spec!.name, false)];
  return { events: [event, { type: "RolloutCompleted", data: {} }], claims };
}

function endStage(
  { bulk, counts }: Extract<RolloutCommand, { do: "endStage" }>,
  state: RolloutState,
  organisation: string,
): Decision<Event> {
  if (state.bulk !== bulk || !state.isUnderWay) return { events: [] };
  const { stage, spec } = state;
  const events: Event[] = [{ type: "StageEnded", data: { stage, bulk, ...counts } }];
  const claims = [names.claim(organisation, spec!.name, false)];
  if (isOver(state)) return { events };
  const of = spec!.stages[stage]!;
  const isLast = stage === spec!.stages.length - 1;
  if (isLast) return { events: [...events, { type: "RolloutCompleted", data: {} }], claims };
  // A stage that was cancelled has not shown that it goes well, either.
  const failed = failedOf(counts) + counts.cancelled;
  if (failed * 100 > spec!.haltAtPercent * of) {
    events.push({ type: "RolloutHalted", data: { stage, failures: failed, of } });
  }
  return { events };
}

function steer(verb: "pause" | "resume" | "cancel", state: RolloutState, organisation: string): Decision<Event> {
  if (isOver(state)) {
    return rule("rollout-over", `The roll-out is ${state.state}.`, "Start another for the devices that are left.");
  }
  switch (verb) {
    case "cancel":
      return {
        events: [{ type: "RolloutCancelled", data: {} }],
        claims: [names.claim(organisation, state.spec!.name, false)],
      };
    case "pause":
      return {
        events: state.state === "paused" || state.state === "halted" ? [] : [{ type: "RolloutPaused", data: {} }],
      };
    case "resume":
      return {
        events: state.state === "paused" || state.state === "halted" ? [{ type: "RolloutResumed", data: {} }] : [],
      };
  }
}

export type RolloutStep =
  | { readonly kind: "stage"; readonly stage: number }
  /** Find which devices it is about. */
  | { readonly kind: "select" };

/** What is to be done about a roll-out now: the next stage, when the one before has proved itself for long enough. */
export function nextOfRollout(state: RolloutState, nowMs: number): Next<RolloutStep> {
  const { exists, spec, stage, isUnderWay, stageEndedAt } = state;
  if (!exists || spec === null || isUnderWay || (state.state !== "running" && state.state !== "soaking"))
    return undefined;
  if (state.selecting) return { do: { kind: "select" } };
  if (stage >= spec.stages.length) return undefined;
  const at = stageEndedAt === null ? nowMs : Date.parse(stageEndedAt) + spec.soakMs;
  return nowMs >= at ? { do: { kind: "stage", stage } } : { waitUntil: at };
}

const bulkId = "blk_01kajzq4v0e8r9t2m5x7c3d6fg";
const counted = { stage: 0, bulk: bulkId, ...NONE, succeeded: 1 };

export const rollout: Kind<RolloutState, RolloutCommand, Event> = {
  context: "devices",
  kind: "rollout",
  prefix: "rlo",
  collection: "firmware-rollouts",
  decider: {
    initial: (id) => ({
      id,
      exists: false,
      organisation: "",
      spec: null,
      state: "running",
      selecting: false,
      stage: 0,
      bulk: null,
      isUnderWay: false,
      counts: NONE,
      stageEndedAt: null,
      requestedBy: null,
      finishedAt: null,
      createdAt: "",
      updatedAt: "",
    }),
    evolve,
    decide,
  } satisfies Decider<RolloutState, RolloutCommand, Event>,
  events: {
    RolloutStarted: first(
      shape.RolloutStarted,
      {
        name: "autumn",
        firmware: { stage: "stable" },
        devices: ["dev_01kajzq4v0e8r9t2m5x7c3d6fg"],
        stages: [1],
        soakMs: 600_000,
        haltAtPercent: 20,
        atOnce: 10,
        expiresInMs: 86_400_000,
      },
      ({ name, devices, stages, select }) =>
        select !== undefined
          ? `asked for the roll-out "${name}" to what a selection finds`
          : `asked for the roll-out "${name}" to ${devices.length === 1 ? "one device" : `${devices.length} devices`} in ${stages.length === 1 ? "one stage" : `${stages.length} stages`}`,
    ),
    RolloutDevicesSelected: first(
      shape.RolloutDevicesSelected,
      { devices: ["dev_01kajzq4v0e8r9t2m5x7c3d6fg"], stages: [1] },
      ({ devices }) => `found what it is about: ${devices.length === 1 ? "one device" : `${devices.length} devices`}`,
    ),
    StageBegun: first(shape.StageBegun, { stage: 0, bulk: bulkId }, ({ stage }) => `began stage ${stage + 1}`),
    StageEnded: first(
      shape.StageEnded,
      counted,
      ({ stage, succeeded, ...counts }) =>
        `saw stage ${stage + 1} end: ${succeeded} succeeded, ${failedOf({ succeeded, ...counts })} failed`,
    ),
    RolloutPaused: first(shape.RolloutPaused, {}, () => "paused it"),
    RolloutResumed: first(shape.RolloutResumed, {}, () => "lets it go on"),
    RolloutHalted: first(
      shape.RolloutHalted,
      { stage: 1, failures: 3, of: 10 },
      ({ stage, failures, of }) => `halted it: ${failures} of ${of} failed in stage ${stage + 1}`,
    ),
    RolloutCompleted: first(shape.RolloutCompleted, {}, () => "ended it: all stages are through"),
    RolloutCancelled: first(shape.RolloutCancelled, {}, () => "ended it before its time"),
  },
  publicEvents: shape.rolloutEvents,
  generation: () => 1,
  exists: (state) => state.exists,
  over: isOver,
  nameClaim: names.of,
  represent: (state) => {
    const { devices, expiresInMs: _, stagesAsked: __, ...spec } = state.spec!;
    const next = state.state === "soaking" && state.stageEndedAt !== null;
    return {
      id: state.id,
      organisation: state.organisation,
      generation: 1,
      spec: { ...spec, devices: devices.length },
      status: {
        state: state.state,
        stage: state.stage,
        ...(state.bulk === null ? {} : { bulk: state.bulk }),
        ...(next ? { nextAt: new Date(Date.parse(state.stageEndedAt!) + spec.soakMs).toISOString() } : {}),
        ...state.counts,
        ...(state.finishedAt === null ? {} : { finishedAt: state.finishedAt }),
      },
      requestedBy: state.requestedBy!,
      createdAt: state.createdAt,
      updatedAt: state.updatedAt,
    };
  },
  stateVersion: 2,
};
