/** A small context for tests of the log itself: counters with a unique name. */
import type { Decision, DomainEvent } from "@millrace/domain/decider.ts";
import type { ContextDeclaration, Kind } from "@millrace/domain/kind.ts";
import * as Schema from "effect/Schema";

export interface Counter {
  readonly id: string;
  readonly name: string;
  readonly total: number;
  readonly steps: number;
  readonly lastAt: string;
}

export type CounterCommand =
  | { readonly do: "start"; readonly name: string }
  | { readonly do: "add"; readonly by: ReadonlyArray<number>; readonly below?: number }
  | { readonly do: "rename"; readonly name: string };

export const counter: Kind<Counter, CounterCommand> = {
  context: "toy",
  kind: "counter",
  prefix: "cnt",
  collection: "counters",
  stateVersion: 1,
  decider: {
    initial: (id) => ({ id, name: "", total: 0, steps: 0, lastAt: "" }),
    evolve(state, event: DomainEvent, meta) {
      const data = event.data as { name: string; by: number };
      switch (event.type) {
        case "CounterStarted":
        case "CounterRenamed":
          return { ...state, name: data.name, lastAt: meta.time };
        default:
          return { ...state, total: state.total + data.by, steps: state.steps + 1, lastAt: meta.time };
      }
    },
    decide(command, state, { organisation }): Decision<DomainEvent> {
      const claim = (name: string, hold: boolean) => ({
        what: "counter-name",
        value: `${organisation}/${name}`,
        hold,
        taken: { refused: "conflict", reason: `A counter named ${name} is there.`, fix: "Take another name." } as const,
      });
      switch (command.do) {
        case "start":
          if (state.name !== "") return { refused: "conflict", reason: "It was started.", fix: "Use another id." };
          return {
            events: [{ type: "CounterStarted", data: { name: command.name } }],
            claims: [claim(command.name, true)],
          };
        case "rename":
          if (state.name === command.name) return { events: [] };
          return {
            events: [{ type: "CounterRenamed", data: { name: command.name } }],
            claims: [claim(state.name, false), claim(command.name, true)],
          };
        case "add":
          if (command.below !== undefined && state.total >= command.below) {
            return { refused: "rule", rule: "full", reason: `It stands at ${state.total}.`, fix: "Stop adding." };
          }
          return { events: command.by.map((by) => ({ type: "CounterAdded", data: { by } })) };
      }
    },
  },
  events: {
    CounterStarted: {
      version: 1,
      data: Schema.Struct({ name: Schema.String }),
      examples: { 1: { name: "a" } },
      sentence: () => "started it",
    },
    CounterRenamed: {
      version: 1,
      data: Schema.Struct({ name: Schema.String }),
      examples: { 1: { name: "a" } },
      sentence: () => "renamed it",
    },
    CounterAdded: {
      version: 2,
      data: Schema.Struct({ by: Schema.Number }),
      upcasts: { 1: ({ amount }: { amount: number }) => ({ by: amount }) },
      examples: { 1: { amount: 3 }, 2: { by: 3 } },
      sentence: ({ by }) => `added ${by}`,
    },
  },
  publicEvents: {
    CounterStarted: { version: 1, data: Schema.Struct({ name: Schema.String }), description: "A counter was started." },
    CounterRenamed: {
      version: 1,
      data: Schema.Struct({ name: Schema.String }),
      description: "A counter has another name.",
    },
    CounterAdded: { version: 1, data: Schema.Struct({ by: Schema.Number }), description: "Something was added." },
  },
  generation: (state) => state.steps,
  exists: (state) => state.name !== "",
  represent: (state) => state,
};

export const toy: ContextDeclaration = { name: "toy", kinds: { counter } };
