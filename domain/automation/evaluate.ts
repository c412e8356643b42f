/**
 * A rule made ready to be asked of event after event: which it waits for, what it sees of them, whether its condition holds, and what its
 * commands come to. Pure; the same for what happens now and for a dry run over the past.
 */
import { Api } from "@millrace/contracts/api.ts";
import type { EventWhen, RuleWhen } from "@millrace/contracts/automation/rules.ts";
import * as HttpApi from "effect/http-api/HttpApi";
import type * as Schema from "effect/Schema";
import { CONTEXTS } from "../contexts.ts";
import type { Actor } from "../decider.ts";
import type { Kind } from "../kind.ts";
import { own } from "../own.ts";
import { wallAt } from "../zone.ts";
import { parseCondition } from "./expression.ts";
import type { Made, Sees } from "./rule-decide.ts";
import type { RuleState } from "./rule-state.ts";
import { pathsIn, render } from "./template.ts";
import { ANY, NUMBER, objectOf, STRING, type Type, typeOf, typeOfEvents, unite } from "./types.ts";

/** What the API shows of one entity, by collection. */
function shownByApi(): ReadonlyMap<string, Schema.Top> {
  const shown = new Map<string, Schema.Top>();
  HttpApi.reflect(Api as never, {
    onGroup: () => {},
    onEndpoint: ({ endpoint }) => {
      const { path, method, success } = endpoint as unknown as {
        path: string;
        method: string;
        success: Set<Schema.Top>;
      };
      const collection = /^\/v1\/organisations\/:org\/([a-z-]+)\/:id$/.exec(path)?.[1];
      const [schema] = success;
      if (method === "GET" && collection !== undefined && schema !== undefined) shown.set(collection, schema);
    },
  });
  return shown;
}

let shown: ReadonlyMap<string, Schema.Top> | undefined;

function typeOfEntity({ collection }: Kind): Type {
  shown ??= shownByApi();
  const schema = shown.get(collection);
  return schema === undefined ? ANY : typeOf(schema);
}

const ACTOR = objectOf({ kind: STRING, id: STRING, name: STRING });
const TIME = objectOf({ hour: NUMBER, minute: NUMBER, weekday: STRING, date: STRING, at: STRING });
const WEEKDAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

const fits = (pattern: string, type: string): boolean =>
  pattern.endsWith("*") ? type.startsWith(pattern.slice(0, -1)) : type === pattern;

const isPublic = (kind: Kind, type: string): boolean =>
  kind.events[type]?.toPublic !== null && kind.publicEvents[type] !== undefined;

/** Kinds and the types of their events that are waited for. */
function awaited({ context, types, kinds }: EventWhen): ReadonlyArray<readonly [Kind, ReadonlyArray<string>]> {
  return Object.values(own(CONTEXTS, context)?.kinds ?? {})
    .filter(({ kind }) => kinds === undefined || kinds.includes(kind))
    .map((kind) => {
      const found = Object.keys(kind.publicEvents).filter((type) => types.some((pattern) => fits(pattern, type)));
      return [kind, found.filter((type) => isPublic(kind, type))] as const;
    })
    .filter(([, found]) => found.length > 0);
}

/** What a rule can see, as a type; or what is wrong with what it waits for. */
export function seesOf(when: Pick<RuleWhen, "kind">): Sees {
  if (when.kind !== "event") return { type: objectOf({ time: TIME }) };
  const { context, types, kinds } = when as EventWhen;
  const declared = own(CONTEXTS, context);
  if (declared === undefined) {
    return { pointer: "/when/context", fault: `is no context; there are ${Object.keys(CONTEXTS).join(", ")}` };
  }
  const names = Object.keys(declared.kinds);
  const unknown = kinds?.findIndex((kind) => !names.includes(kind)) ?? -1;
  if (unknown >= 0)
    return { pointer: `/when/kinds/${unknown}`, fault: `is no kind of ${context}; there are ${names.join(", ")}` };
  const found = awaited(when as EventWhen);
  for (const [i, pattern] of types.entries()) {
    if (found.some(([, all]) => all.some((type) => fits(pattern, type)))) continue;
    const all = Object.values(declared.kinds).flatMap((kind) => Object.keys(kind.publicEvents));
    return { pointer: `/when/types/${i}`, fault: `is no type of event here; there are ${all.join(", ")}` };
  }
  const data = found.map(([kind, all]) => typeOfEvents(kind.publicEvents, all)).reduce(unite);
  const entity = found.map(([kind]) => typeOfEntity(kind)).reduce(unite);
  const text = { type: STRING, context: STRING, kind: STRING, id: STRING, entity: STRING, at: STRING };
  return { type: objectOf({ event: objectOf({ ...text, actor: ACTOR, data }), entity, time: TIME }) };
}

/** An event as it is looked at. */
export interface Happened {
  readonly context: string;
  readonly kind: string;
  /** Of the entity. */
  readonly entity: string;
  /** `<sequence>.<index>` */
  readonly id: string;
  readonly type: string;
  /** Milliseconds since 1970. */
  readonly atMs: number;
  readonly actor: Actor;
  /** Its public form. */
  readonly data: unknown;
}

export interface ReadyRule {
  readonly wants: (kind: string, type: string, entity: string) => boolean;
  /** It looks at the entity: without one it is not to be asked. */
  readonly needsEntity: boolean;
  /** @returns undefined: it does nothing. @param entity as the API showed it right after the event */
  readonly ask: (happened: Happened, entity: unknown) => Made | undefined;
  /** Of a rule that waits for a time. */
  readonly askAt: (dueMs: number) => Made | undefined;
}

export function timeIn(zone: string, at: number) {
  const wall = new Date(wallAt(zone, at));
  return {
    hour: wall.getUTCHours(),
    minute: wall.getUTCMinutes(),
    weekday: WEEKDAYS[wall.getUTCDay()]!,
    date: wall.toISOString().slice(0, 10),
    at: new Date(at).toISOString(),
  };
}

/** @throws TypeError for a rule that today's contracts would not store: it is read by an older or newer release */
export function readyRule(state: Pick<RuleState, "when" | "condition" | "timeZone" | "commands">): ReadyRule {
  const { when, condition, timeZone, commands } = state;
  const sees = seesOf(when!);
  if ("fault" in sees) throw new TypeError(`${sees.pointer} ${sees.fault}`);
  const read = condition === null ? undefined : parseCondition(condition, sees.type);
  if (read !== undefined && "fault" in read) throw new TypeError(`/condition ${read.fault}`);
  const paths = [...(read?.paths ?? []), ...pathsIn(commands)];
  const sights = new Set(paths.map(([first]) => first));
  const events = when?.kind === "event" ? when : undefined;
  const types = new Set(
    events === undefined ? [] : awaited(events).flatMap(([{ kind }, all]) => all.map((type) => `${kind} ${type}`)),
  );
  const labels = events?.labels ?? [];
  const seesTime = sights.has("time");
  const seesAt = paths.some(([first, second]) => first === "event" && second === "at");
  const make = (scope: object): Made | undefined =>
    read === undefined || read.holds(scope) ? render(commands, scope) : undefined;
  return {
    wants: (kind, type, entity) => types.has(`${kind} ${type}`) && (events?.ids?.includes(entity) ?? true),
    needsEntity: sights.has("entity") || labels.length > 0,
    ask: (happened, entity) => {
      const own = labels.length === 0 ? [] : labelsOf(entity);
      if (!labels.every((label) => own.includes(label))) return undefined;
      const { atMs } = happened;
      // Most rules look at neither: a date is dearer than a condition.
      const event = seesAt ? { ...happened, at: new Date(atMs).toISOString() } : happened;
      return make(seesTime ? { event, entity, time: timeIn(timeZone, atMs) } : { event, entity });
    },
    askAt: (due) => make({ time: timeIn(timeZone, due) }),
  };
}

function labelsOf(entity: unknown): ReadonlyArray<unknown> {
  const labels = (entity as { readonly spec?: { readonly labels?: unknown } } | null)?.spec?.labels;
  return Array.isArray(labels) ? labels : [];
}
