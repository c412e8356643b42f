/** Automation rules, and what they would have done. */
import { Api } from "@millrace/contracts/api.ts";
import { forRulesToRead, type RuleWhen } from "@millrace/contracts/automation/rules.ts";
import { LIMITS } from "@millrace/contracts/http.ts";
import type { Action } from "@millrace/domain/automation/actions.ts";
import { dueTimes } from "@millrace/domain/automation/due.ts";
import { type ReadyRule, readyRule, seesOf } from "@millrace/domain/automation/evaluate.ts";
import { type RuleState, rule } from "@millrace/domain/automation/rule.ts";
import { rulesView } from "@millrace/domain/automation/views.ts";
import { kindOf } from "@millrace/domain/contexts.ts";
import type { StoredCommit } from "@millrace/eventlog/commit.ts";
import { entityAfter, happenedIn } from "@millrace/eventlog/happened.ts";
import { readSpan, seqAt } from "@millrace/eventlog/span.ts";
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder";
import { forbidden } from "../access.ts";
import { seenOf } from "../answers.ts";
import { type Asked, mayAlso } from "../asked.ts";
import { commands, type Handle, handle, invalidInput, json, type Request } from "../command.ts";
import { fail } from "../failures.ts";
import { type Gateway, loadOwn } from "../gateway.ts";
import { history } from "../history.ts";
import { past } from "../past.ts";
import { decodeCursor, encodeCursor, list } from "../queries.ts";
import { makerOf, mayDo } from "./automation.ts";

/** Its events are read by whoever makes it, and by whoever looks what it would have done. @throws Failed (forbidden) */
function mayHear(asked: Asked, when: Pick<RuleWhen, "kind"> | null): void {
  const permission = when === null ? undefined : forRulesToRead(when);
  if (permission !== undefined && !mayAlso(asked, permission)) fail(forbidden(permission));
}

export const ruleRoutes = (gateway: Gateway) =>
  HttpApiBuilder.group(Api, "rules", (handlers) => {
    const rules = commands(gateway, rule);
    const pastRules = past(gateway, rule);
    return handlers
      .handle(
        "createRule",
        rules.create(async ({ payload }, asked) => {
          const sees = seesOf(payload.when);
          if (!("fault" in sees)) mayHear(asked, payload.when);
          await mayDo(gateway, asked, payload.commands as ReadonlyArray<Action>);
          return { do: "create", spec: payload, maker: makerOf(asked), sees };
        }),
      )
      .handle("listRules", list(gateway, rulesView))
      .handle("getRule", pastRules.get())
      .handle(
        "changeRule",
        rules.change(async ({ payload }, seen, asked, id) => {
          const { state } = await gateway.log.aggregates.load(rule, id);
          const when = payload.when ?? state.when ?? { kind: "once" as const };
          const sees = seesOf(when);
          const { title: _, ...acting } = payload;
          if (Object.keys(acting).length > 0) {
            if (!("fault" in sees)) mayHear(asked, when);
            await mayDo(gateway, asked, (payload.commands as ReadonlyArray<Action>) ?? state.commands);
          }
          return { do: "change", spec: payload, maker: makerOf(asked), sees, ...seenOf(seen) };
        }),
      )
      .handle(
        "enableRule",
        rules.act((_, seen) => ({ do: "enable", ...seenOf(seen) })),
      )
      .handle(
        "disableRule",
        rules.act((_, seen) => ({ do: "disable", ...seenOf(seen) })),
      )
      .handle("dryRunRule", dryRunHandler(gateway))
      .handle(
        "deleteRule",
        rules.remove((_, seen) => ({ do: "delete", ...seenOf(seen) })),
      )
      .handle("historyOfRule", history(gateway, rule))
      .handle("diffRule", pastRules.diff());
  });

const WEEK_MS = 7 * 86_400_000;
/** Commits of a page of the log, messages looked at for one answer, and entities folded for it. */
const DRY = { batch: 500, looked: 5_000, folded: 200 } as const;

interface DryQuery {
  readonly from?: string;
  readonly to?: string;
  readonly limit?: number;
  readonly cursor?: string;
}

const dryRunHandler = <R extends Request>(gateway: Gateway): Handle<R> =>
  handle(gateway, async (request, asked) => {
    const { state } = await loadOwn(gateway, rule, asked, (request.params as { id: string }).id);
    const { from, to, limit = LIMITS.listDefault, cursor } = (request.query ?? {}) as DryQuery;
    mayHear(asked, state.when);
    const toMs = to === undefined ? Date.now() : Date.parse(to);
    const fromMs = from === undefined ? toMs - WEEK_MS : Date.parse(from);
    if (fromMs > toMs) fail(invalidInput("/query/from", "is later than `to`"));
    const mark =
      cursor === undefined ? undefined : decodeCursor<{ at: number }>(cursor, ({ at }) => Number.isSafeInteger(at));
    const span = { fromMs, toMs, limit, at: mark?.at };
    const ready = readyRule(state);
    return json(
      state.when?.kind === "event" ? await overLog(gateway, state, ready, span) : overTimes(state, ready, span),
    );
  });

interface Span {
  readonly fromMs: number;
  readonly toMs: number;
  readonly limit: number;
  /** Where the page before ended. */
  readonly at: number | undefined;
}

const rfc = (ms: number): string => new Date(ms).toISOString();

/** Of a rule that waits for times: `at` is the last due time that was looked at. */
function overTimes({ when }: RuleState, ready: ReadyRule, { fromMs, toMs, limit, at }: Span) {
  const due =
    when === null || when.kind === "event" ? [] : dueTimes(when, at ?? fromMs - 1, limit).filter((ms) => ms <= toMs);
  const items = due.flatMap((ms) => {
    const made = ready.askAt(ms);
    return made === undefined ? [] : [{ at: rfc(ms), due: rfc(ms), commands: [], ...made }];
  });
  const last = due[due.length - 1];
  const ended = due.length < limit || last === undefined;
  return {
    items,
    looked: due.length,
    upTo: rfc(ended ? toMs : last),
    ...(ended ? {} : { nextCursor: encodeCursor({ at: last }) }),
  };
}

/** Of a rule that waits for events: `at` is the next sequence of the log. */
async function overLog(gateway: Gateway, state: RuleState, ready: ReadyRule, { fromMs, toMs, limit, at }: Span) {
  const { context } = state.when as Extract<RuleWhen, { kind: "event" }>;
  const { log } = gateway;
  const items: object[] = [];
  let seq: number | undefined = at ?? (await seqAt(log, context, fromMs));
  let messages = 0;
  let looked = 0;
  let folded = 0;
  let upTo = fromMs;
  const page = (next: number | undefined) => ({
    items,
    looked,
    upTo: rfc(next === undefined ? toMs : upTo),
    ...(next === undefined ? {} : { nextCursor: encodeCursor({ at: next }) }),
  });
  while (seq !== undefined && messages < DRY.looked) {
    const { commits, next } = await readSpan(log, context, seq, DRY.batch);
    messages += DRY.batch;
    for (const commit of commits) {
      if (commit.time > toMs) return page(undefined);
      if (items.length >= limit || folded >= DRY.folded) return page(commit.seq);
      upTo = commit.time;
      if (commit.organisation !== state.organisation) continue;
      const found = await askOf(gateway, ready, commit);
      looked += found.looked;
      folded += found.folded ? 1 : 0;
      items.push(...found.items);
    }
    seq = next;
  }
  return page(seq);
}

async function askOf({ log }: Gateway, ready: ReadyRule, commit: StoredCommit) {
  const kind = kindOf(commit.context, commit.kind);
  const wanted = [...commit.events.entries()].filter(([, { type }]) =>
    ready.wants(commit.kind, type, commit.aggregate),
  );
  if (kind === undefined || wanted.length === 0) return { items: [], looked: commit.events.length, folded: false };
  const entity = ready.needsEntity ? await entityAfter(log, kind, commit) : undefined;
  const items = wanted.flatMap(([index]) => {
    const happened = happenedIn(kind, commit, index);
    const made = happened === undefined ? undefined : ready.ask(happened, entity);
    if (happened === undefined || made === undefined) return [];
    const { id, type, entity: of } = happened;
    return [{ at: rfc(commit.time), event: { id, type, kind: commit.kind, entity: of }, commands: [], ...made }];
  });
  return { items, looked: commit.events.length, folded: ready.needsEntity };
}
