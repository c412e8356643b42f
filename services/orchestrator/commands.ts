/**
 * Issuing a command of any context from here, for schedules, rules and processes: from an action to decider and append, by the same
 * plans and deciders as the gateway's routes. An action with the same command id is done once: what it makes has an id that is
 * derived from the command id, and the aggregate that is acted on remembers the command for 24 hours.
 */
import { createHash } from "node:crypto";
import { ACTIONS, type ActionDeclaration, type ActionName } from "@millrace/contracts/automation/actions.ts";
import { makeId, PREFIXES } from "@millrace/contracts/ids.ts";
import type { Permission } from "@millrace/contracts/permissions.ts";
import { isOvertaken } from "@millrace/domain/applications/application-report.ts";
import {
  type Action,
  actionFaults,
  planAction,
  refusalOfFaults,
  subjectKind,
  subjectOf,
} from "@millrace/domain/automation/actions.ts";
import { type Actor, type Refusal, rule } from "@millrace/domain/decider.ts";
import type { Kind } from "@millrace/domain/kind.ts";
import { isPlanned } from "@millrace/domain/reads.ts";
import { readCommits } from "@millrace/eventlog/aggregate.ts";
import type { EventLog } from "@millrace/eventlog/eventlog.ts";
import { type CommandContext, executeAll, readsOf } from "@millrace/eventlog/execute.ts";
import { faultPoint } from "@millrace/eventlog/faultpoint.ts";
import { REMEMBER_MS } from "@millrace/eventlog/remembered.ts";

export interface CommandIssued extends Action {
  readonly organisation: string;
  /** Who stands in the log as having done it: the schedule, rule or process. */
  readonly actor: Actor;
  /**
   * The same for every try, and of no other command: e.g. `<schedule>.<due time>.<index>`. Not to begin with `cmd_`, and
   * tried for less than 24 hours, so that the aggregate still knows of it.
   */
  readonly commandId: string;
  readonly correlation: string;
  readonly causation: string;
  /** How many rules stand between this and what somebody asked for; left out: none. */
  readonly hops?: number | undefined;
  readonly trace?: string | undefined;
  /** RFC 3339: it may have been tried since then. After so long that the aggregate may have forgotten the command, its history is asked. */
  readonly since?: string | undefined;
  /**
   * Whether it may be done, by whose permission it is done; left out: what the house itself does needs none.
   * @param resources ids of the organisation, of what is acted on, and of what that belongs to
   */
  readonly allowed?: (permission: Permission, resources: ReadonlyArray<string>) => boolean;
}

export interface Issued {
  /** What was acted on. */
  readonly subject: { readonly context: string; readonly kind: string; readonly id: string };
  /** Id of what it made, where it makes something: an item, a deployment. */
  readonly made?: string;
  /** The log's sequence in the subject's context. */
  readonly seq: number;
  /** An earlier try had done it. */
  readonly repeated: boolean;
}

const PLANS_MOST = 8;

/** @throws LogUnavailable, UnknownEvent, AppendConflict: try again later with the same command id */
export async function issue(
  log: EventLog,
  asked: CommandIssued,
): Promise<{ readonly ok: Issued } | { readonly refusal: Refusal }> {
  const faults = refusalOfFaults(actionFaults(asked, "/body"));
  if (faults !== undefined) return { refusal: faults };
  const action = asked.action as ActionName;
  const { organisation, commandId, body = {} } = asked;
  const { makes, target } = ACTIONS[action];
  const reads = readsOf(log);
  const kind = subjectKind(action);
  const make = idsOf(commandId);
  const madeId = makes === null ? undefined : make(prefixOf(makes));
  const subject = target === null ? madeId : await subjectOf(reads, organisation, action, asked.on!);
  if (subject === undefined) return { refusal: notThere(kind.kind) };

  const loaded = await log.aggregates.load(kind, subject);
  const earlier = loaded.commands.get(commandId);
  const about = { subject: { context: kind.context, kind: kind.kind, id: subject }, ...madeOf(madeId) };
  if (earlier !== undefined) return { ok: { ...about, seq: earlier.seq, repeated: true } };
  const done = mayBeForgotten(asked) ? await foundInHistory(log, kind, subject, commandId) : undefined;
  if (done !== undefined) return { ok: { ...about, seq: done, repeated: true } };
  const foreign = target !== null && loaded.organisation !== organisation;
  if (foreign || (target !== null && !kind.exists(loaded.state))) return { refusal: notThere(kind.kind) };
  const resources = [organisation, subject, ...(target === null ? [] : (kind.parents?.(loaded.state) ?? []))];
  const declared: ActionDeclaration = ACTIONS[action];
  for (const permission of [declared.permission, ...(declared.also?.(body) ?? [])]) {
    if (asked.allowed === undefined || asked.allowed(permission, resources)) continue;
    return { refusal: notAllowed(permission) };
  }

  const context = contextOf(asked, canonical({ action, subject, body }));
  for (let attempt = 1; ; attempt++) {
    const plan = await planAction({ reads, organisation, action, subject, body, makeId: make });
    if (!isPlanned(plan)) return { refusal: plan };
    faultPoint("command.issue.before");
    const outcome = await executeAll(log, plan, context);
    faultPoint("command.issue.after");
    if (!("refusal" in outcome)) {
      const seq = Math.max(...outcome.ok.map((one) => one.seq));
      return { ok: { ...about, seq, repeated: outcome.ok[0]!.repeated } };
    }
    if (!isOvertaken(outcome.refusal)) return outcome;
    if (attempt === PLANS_MOST) return { refusal: IN_MOTION };
    await new Promise((resolve) => setTimeout(resolve, Math.random() * 4 * 2 ** attempt));
  }
}

const mayBeForgotten = ({ since }: CommandIssued): boolean =>
  since !== undefined && Date.now() - Date.parse(since) > REMEMBER_MS - 3_600_000;

/** @returns the sequence of the commit that a command made of an aggregate, or undefined */
async function foundInHistory(log: EventLog, kind: Kind, id: string, commandId: string): Promise<number | undefined> {
  for await (const { command, seq } of readCommits(log.nats, kind, id)) if (command === commandId) return seq;
  return undefined;
}

const prefixOf = (makes: string): string => PREFIXES[makes as keyof typeof PREFIXES];
const madeOf = (made: string | undefined) => (made === undefined ? {} : { made });

/** Ids that are the same for every try of a command. */
const idsOf =
  (commandId: string) =>
  (prefix: string, nth = 0): string => {
    const entropy = createHash("sha256").update(`${commandId}\n${prefix}\n${nth}`).digest();
    return makeId(prefix, entropy.readUIntBE(24, 6), entropy);
  };

function contextOf(asked: CommandIssued, input: string): CommandContext {
  const { organisation, actor, commandId, correlation, causation, trace, hops } = asked;
  return {
    organisation,
    actor,
    commandId,
    digest: createHash("sha256").update(input).digest("base64url").slice(0, 27),
    correlation,
    causation,
    now: new Date().toISOString(),
    ...(trace === undefined ? {} : { trace }),
    ...(hops === undefined || hops === 0 ? {} : { hops }),
  };
}

const canonical = (input: { action: string; subject: string; body: unknown }): string => JSON.stringify(input);

const notThere = (kind: string): Refusal => ({ refused: "not-found", reason: `There is no such ${kind}.` });

/** Why a command was refused whose maker may not do it any more. */
export const notAllowed = (permission: string): Refusal =>
  rule(
    "permission-gone",
    `Whoever made this does not hold the permission ${permission} any more.`,
    "Have somebody who holds it save it again.",
  );

const IN_MOTION: Refusal = {
  refused: "conflict",
  reason: "What this is about changes all the time.",
  fix: "Try it again in a moment.",
};
