/**
 * Rules told as tables: what had happened, what is asked for, what comes of it.
 *
 *     given(item, [opened]).when({ do: "assign", assignees: ["ada"] }).happens(["ItemAssigned", { assignees: ["ada"] }]);
 *     given(item, []).when({ do: "delete" }).isRefused({ refused: "not-found" });
 *
 * Events on either side must read as their schemas say, and survive JSON as they are, so that no table tells of what the
 * log could not hold.
 */
import assert from "node:assert/strict";
import * as Schema from "effect/Schema";
import { type Actor, type Circumstances, type Claim, type Decision, type DomainEvent, isRefusal } from "./decider.ts";
import type { Kind } from "./kind.ts";

/** An event as `[type, data]`, done by the usual actor unless a third part names another. */
export type Told = readonly [type: string, data: unknown, by?: Actor];

/** What must be so of a refusal: each field named, strings by equality or pattern, pointers each by equality. */
export interface Refused {
  readonly refused?: "rule" | "not-found" | "conflict" | "precondition" | "invalid";
  readonly rule?: string;
  readonly reason?: string | RegExp;
  readonly fix?: string | RegExp;
  readonly pointers?: ReadonlyArray<string>;
}

export const ada: Actor = { kind: "token", id: "tok_01kajzq4v0e8r9t2m5x7c3d6fg", name: "ada" };
export const ben: Actor = { kind: "token", id: "tok_01kajzq4v0e8r9t2m5x7c3d6fh", name: "ben" };
export const ORGANISATION = "org_01kajzq4v0e8r9t2m5x7c3d6fg";
const BEGAN = Date.parse("2026-11-21T08:00:00.000Z");

/** The time of the nth event of a table, from 0: a minute apart. */
export const timeOf = (index: number): string => new Date(BEGAN + index * 60_000).toISOString();

/** Reads events as the log would hand them to the fold. */
function checked<S, C, E extends DomainEvent>(kind: Kind<S, C, E>, events: ReadonlyArray<DomainEvent>): E[] {
  return events.map(({ type, data }) => {
    const declared = kind.events[type];
    assert.ok(declared, `${kind.kind} declares no event ${type}`);
    Schema.decodeUnknownSync(declared.data, { onExcessProperty: "error" })(data);
    assert.deepEqual(JSON.parse(JSON.stringify(data)), data, `${type} does not survive JSON`);
    return { type, data } as E;
  });
}

/** Folds a story from nothing. */
export function fold<S>(
  kind: Kind<S>,
  story: ReadonlyArray<Told>,
  id = `${kind.prefix}_01kajzq4v0e8r9t2m5x7c3d6fg`,
): S {
  return story.reduce((state, [type, data, actor = ada], index) => {
    const [event] = checked(kind, [{ type, data }]);
    return kind.decider.evolve(state, event!, { organisation: ORGANISATION, actor, time: timeOf(index) });
  }, kind.decider.initial(id));
}

export function given<S, C, E extends DomainEvent>(kind: Kind<S, C, E>, story: ReadonlyArray<Told>) {
  const state = fold(kind, story);
  return {
    state,
    when: (command: C, circumstances: Partial<Circumstances> = {}) => {
      const around = { organisation: ORGANISATION, actor: ada, now: timeOf(story.length), ...circumstances };
      const before = JSON.stringify(state);
      const decision = kind.decider.decide(command, state, around);
      assert.equal(JSON.stringify(state), before, "a decision changes no state");
      return outcome(kind, state, decision, around);
    },
  };
}

function outcome<S, C, E extends DomainEvent>(
  kind: Kind<S, C, E>,
  state: S,
  decision: Decision<E>,
  { organisation, actor, now }: Circumstances,
) {
  const accepted = () => {
    if (isRefusal(decision)) assert.fail(`it was refused: ${JSON.stringify(decision)}`);
    return decision;
  };
  return {
    decision,
    /** Exactly these events; none: it was so already. */
    happens: (...told: ReadonlyArray<Told>): void => {
      const events = checked(kind, accepted().events);
      assert.deepEqual(
        events.map(({ type, data }) => [type, data]),
        told.map(([type, data]) => [type, data]),
      );
    },
    /** These values are taken or given up with it. */
    claims: (...claims: ReadonlyArray<Pick<Claim, "what" | "value" | "hold">>): void => {
      const made = (accepted().claims ?? []).map(({ what, value, hold }) => ({ what, value, hold }));
      assert.deepEqual(made, claims);
    },
    /** Looks at the state that follows. */
    leads: (look: (state: S) => void): void => {
      const events = checked(kind, accepted().events);
      look(events.reduce((s, event) => kind.decider.evolve(s, event, { organisation, actor, time: now }), state));
    },
    isRefused: (expected: Refused): void => {
      if (!isRefusal(decision)) assert.fail(`it was accepted: ${JSON.stringify(decision.events)}`);
      const { pointers, ...fields } = expected;
      for (const [name, wanted] of Object.entries(fields)) {
        const found: unknown = (decision as unknown as Record<string, unknown>)[name];
        if (wanted instanceof RegExp) assert.match(String(found), wanted);
        else assert.equal(found, wanted);
      }
      if (pointers !== undefined) {
        assert.equal(decision.refused, "invalid");
        assert.deepEqual("errors" in decision && decision.errors.map(({ pointer }) => pointer), pointers);
      }
    },
  };
}

/** The sentence of an event, read as its schema says. */
export function sentenceOf(kind: Kind, type: string, data: unknown): string {
  const [event] = checked(kind, [{ type, data }]);
  return kind.events[type]!.sentence(event!.data);
}
