/** The rule: when something happens and a condition holds, commands of the product are done, by the permission of whoever made it. */
import * as shape from "@millrace/contracts/automation/rule-events.ts";
import type { EventDeclaration, Kind } from "../kind.ts";
import { excerpt, first } from "../sentences.ts";
import { decide, type RuleCommand, ruleNameClaim } from "./rule-decide.ts";
import { evolve, initial, type RuleEvent, type RuleEventType, type RuleState, represent } from "./rule-state.ts";
import { whenSaid } from "./schedule.ts";

const AT = "2026-11-21T03:30:00.000Z";
const OPEN = "work.openItem";
const when = { kind: "event", context: "applications", types: ["DeploymentFailed"] } as const;
const commands = [{ action: OPEN, body: { type: "incident", title: "{{entity.spec.name}} failed" } }];
const maker = { token: "tok_01kajzq4v0e8r9t2m5x7c3d6fg", name: "ada" };
const acting = { when, condition: null, timeZone: "UTC", commands, perMinute: 10, since: AT, maker };
const event = {
  id: "41.0",
  type: "DeploymentFailed",
  kind: "deployment",
  entity: "dep_01kajzq4v0e8r9t2m5x7c3d6fg",
};
const chain = { hops: 1, correlation: "req_1", causation: "c1" };

const waitsFor = (data: { readonly when: typeof shape.RuleChanged.Type.when; readonly condition: string | null }) =>
  `${data.when.kind === "event" ? `on ${data.when.types.join(", ")} of ${data.when.context}` : whenSaid(data.when)}${
    data.condition === null ? "" : `, if ${excerpt(data.condition)}`
  }`;
const does = (all: ReadonlyArray<{ readonly action: string }>): string => all.map(({ action }) => action).join(", ");

const WHY: Readonly<Record<string, string>> = {
  "too-often": "it would have been done too often in this minute",
  "too-many-waiting": "too much of it waits already",
  circle: "it was caused by too many rules one after the other",
  "permission-gone": "its maker may not read such events any more",
};

const declarations: Readonly<Record<RuleEventType, EventDeclaration>> = {
  RuleCreated: first(
    shape.RuleCreated,
    { name: "tell", ...acting, enabled: true },
    (data) => `created the rule "${data.name}" ${waitsFor(data)}: ${does(data.commands)}`,
  ),
  RuleRetitled: first(shape.RuleRetitled, { title: "Tell" }, ({ title }) =>
    title === null ? "took the title off" : `titled it "${title}"`,
  ),
  RuleChanged: first(shape.RuleChanged, acting, (data) => `changed it: ${waitsFor(data)}: ${does(data.commands)}`),
  RuleEnabled: first(shape.RuleEnabled, { since: AT }, () => "enabled it"),
  RuleDisabled: first(shape.RuleDisabled, {}, () => "disabled it"),
  RuleTriggered: first(shape.RuleTriggered, { run: 1, event, commands, chain }, (data) =>
    data.event === undefined
      ? `began what was due at ${data.due}`
      : `began what is done on ${data.event.type} of ${data.event.entity}`,
  ),
  RuleDue: first(
    shape.RuleDue,
    { due: AT, held: false },
    ({ due, held }) => `was due at ${due}${held ? "" : ", with nothing to do"}`,
  ),
  RulePassedOver: first(
    shape.RulePassedOver,
    { reason: "too-often", minute: 29_918_130 },
    ({ reason }) => `passed something over: ${WHY[reason]}`,
  ),
  RuleCommandDone: first(
    shape.RuleCommandDone,
    { run: 1, index: 0, action: OPEN, made: "itm_01kajzq4v0e8r9t2m5x7c3d6fg" },
    ({ action }) => `did ${action}`,
  ),
  RuleCompleted: first(shape.RuleCompleted, { run: 1 }, ({ run }) => `completed run ${run}`),
  RuleFailed: first(
    shape.RuleFailed,
    { run: 1, index: 0, action: OPEN, outcome: "refused", reason: "There is no such type." },
    ({ action, outcome, reason }) =>
      `could not do ${action}, which was ${outcome === "refused" ? "refused" : "given up"}: ${excerpt(reason)}`,
  ),
  RuleFaulted: first(
    shape.RuleFaulted,
    { run: 1, event, fault: "{{entity.spec.title}} is not there" },
    ({ fault }) => `could not begin: ${excerpt(fault)}`,
  ),
  RuleDeleted: first(shape.RuleDeleted, { name: "tell" }, ({ name }) => `deleted the rule "${name}"`),
};

export const rule: Kind<RuleState, RuleCommand, RuleEvent> = {
  context: "automation",
  kind: "rule",
  prefix: "rul",
  collection: "rules",
  decider: { initial, evolve, decide },
  events: declarations,
  publicEvents: shape.ruleEvents,
  generation: (state) => state.generation,
  exists: (state) => state.exists,
  represent,
  nameClaim: ruleNameClaim,
  stateVersion: 1,
};

export type { RuleCommand, RuleEvent, RuleState };
