/**
 * A small context for tests of workers: a march of six steps, each *started* (with attempt and worker) before the world is touched and
 * *completed* after. The world is a folder: a step's act is a file that may be created once (O_EXCL), and every attempt that reaches
 * the world leaves a line.
 */
import type { Decision, DomainEvent } from "@millrace/domain/decider.ts";
import type { ContextDeclaration, Kind } from "@millrace/domain/kind.ts";
import type { Next } from "@millrace/eventlog/worker.ts";
import * as Schema from "effect/Schema";

export const STEPS = 6;

export interface March {
  readonly id: string;
  readonly asked: boolean;
  /** Steps completed. */
  readonly done: number;
  /** The step that was started and has not been completed. */
  readonly current: { readonly step: number; readonly attempt: number; readonly worker: string } | undefined;
  readonly cancelled: boolean;
  readonly unit: string;
  readonly node: string;
  /** Nothing is done before this time; milliseconds since 1970. */
  readonly notBefore: number;
}

export type MarchCommand =
  | { readonly do: "ask"; readonly unit?: string; readonly node?: string; readonly notBefore?: number }
  | { readonly do: "cancel" }
  | { readonly do: "start"; readonly step: number; readonly attempt: number; readonly worker: string }
  | { readonly do: "complete"; readonly step: number; readonly attempt: number; readonly worker: string };

export interface MarchStep {
  readonly step: number;
  readonly attempt: number;
}

const OVERTAKEN = {
  refused: "rule",
  rule: "overtaken",
  reason: "Another attempt is under way.",
  fix: "Let it pass.",
} as const;

function decide(command: MarchCommand, state: March): Decision<DomainEvent> {
  const { current, done } = state;
  switch (command.do) {
    case "ask":
      if (state.asked) return { events: [] };
      return {
        events: [
          {
            type: "MarchAsked",
            data: { unit: command.unit ?? "", node: command.node ?? "", notBefore: command.notBefore ?? 0 },
          },
        ],
      };
    case "cancel":
      return { events: state.cancelled ? [] : [{ type: "MarchCancelled", data: {} }] };
    case "start": {
      const attempt = current?.step === command.step ? current.attempt + 1 : 1;
      if (state.cancelled || command.step !== done + 1 || command.attempt !== attempt) return OVERTAKEN;
      const { step, worker } = command;
      return { events: [{ type: "StepStarted", data: { step, attempt, worker } }] };
    }
    case "complete": {
      const { step, attempt, worker } = command;
      const same = current?.step === step && current.attempt === attempt && current.worker === worker;
      return same ? { events: [{ type: "StepCompleted", data: { step, attempt, worker } }] } : OVERTAKEN;
    }
  }
}

function evolve(state: March, { type, data }: DomainEvent): March {
  const { step, attempt, worker } = data as { step: number; attempt: number; worker: string };
  switch (type) {
    case "MarchAsked": {
      const { unit, node, notBefore } = data as { unit: string; node: string; notBefore: number };
      return { ...state, asked: true, unit: unit === "" ? state.id : unit, node, notBefore };
    }
    case "MarchCancelled":
      return { ...state, cancelled: true };
    case "StepStarted":
      return { ...state, current: { step, attempt, worker } };
    default:
      return { ...state, current: undefined, done: step };
  }
}

/** Pure, as every `next` is. */
export function nextStep(state: March, nowMs: number): Next<MarchStep> {
  if (!state.asked || state.cancelled || state.done === STEPS) return undefined;
  if (state.notBefore > nowMs) return { waitUntil: state.notBefore };
  const { current } = state;
  // A step under way that somebody asks about has lost its worker: the next attempt takes over.
  return { do: { step: state.done + 1, attempt: (current?.attempt ?? 0) + 1 } };
}

const Place = Schema.Struct({ step: Schema.Number, attempt: Schema.Number, worker: Schema.String });
const place = { step: 1, attempt: 1, worker: "w" };
const Asked = Schema.Struct({ unit: Schema.String, node: Schema.String, notBefore: Schema.Number });
const asked = { unit: "", node: "", notBefore: 0 };

const declared = <S extends Schema.Codec<any, any, never, never>>(data: S, example: unknown, sentence: string) => ({
  version: 1,
  data,
  examples: { 1: example },
  sentence: () => sentence,
});

export const march: Kind<March, MarchCommand> = {
  context: "toy",
  kind: "march",
  prefix: "mar",
  collection: "marches",
  stateVersion: 1,
  decider: {
    initial: (id) => ({
      id,
      asked: false,
      done: 0,
      current: undefined,
      cancelled: false,
      unit: id,
      node: "",
      notBefore: 0,
    }),
    evolve,
    decide,
  },
  events: {
    MarchAsked: declared(Asked, asked, "asked for it"),
    MarchCancelled: declared(Schema.Struct({}), {}, "cancelled it"),
    StepStarted: declared(Place, place, "started a step"),
    StepCompleted: declared(Place, place, "completed a step"),
  },
  publicEvents: {
    MarchAsked: { version: 1, data: Asked, description: "A march was asked for." },
    MarchCancelled: { version: 1, data: Schema.Struct({}), description: "A march was cancelled." },
    StepStarted: { version: 1, data: Place, description: "A step was started." },
    StepCompleted: { version: 1, data: Place, description: "A step was completed." },
  },
  generation: () => 1,
  exists: (state) => state.asked,
  represent: (state) => state,
};

export const marches: ContextDeclaration = { name: "toy", kinds: { march } };
