/**
 * What wakes rules that wait for events: one listener for each context, in the whole installation. A rule for which the condition holds has a run
 * noted, once for each event; doing it is the worker's (reactors/rule.ts).
 */
import { automation } from "@millrace/domain/automation/context.ts";
import { type ReadyRule, readyRule } from "@millrace/domain/automation/evaluate.ts";
import { type RuleState, rule } from "@millrace/domain/automation/rule.ts";
import { CONTEXTS, kindOf } from "@millrace/domain/contexts.ts";
import type { Kind } from "@millrace/domain/kind.ts";
import type { StoredCommit } from "@millrace/eventlog/commit.ts";
import type { DeadLetters } from "@millrace/eventlog/deadletters.ts";
import type { EventLog } from "@millrace/eventlog/eventlog.ts";
import { execute } from "@millrace/eventlog/execute.ts";
import { LogUnavailable } from "@millrace/eventlog/failures.ts";
import { faultPoint } from "@millrace/eventlog/faultpoint.ts";
import { entityAfter, happenedIn } from "@millrace/eventlog/happened.ts";
import type { Leases } from "@millrace/eventlog/leases.ts";
import { type Listener, listen } from "@millrace/eventlog/listener.ts";
import { type LiveIndex, startLiveIndex } from "@millrace/eventlog/live-index.ts";
import type { Logger } from "@millrace/eventlog/logging.ts";
import { powersOf } from "./authority.ts";

export interface RulesOptions {
  readonly log: EventLog;
  readonly leases: Leases;
  readonly deadLetters: DeadLetters;
  readonly logger: Logger;
  readonly signal: AbortSignal;
}

interface Known {
  readonly state: RuleState;
  /** Of what it was made; another version of the rule is made ready anew. */
  readonly version: number;
  /** Undefined: this release cannot read it. */
  readonly ready: ReadyRule | undefined;
}

const REACHED_MS = 10_000;
/** Clocks of servers and of this process may differ by so much. */
const SKEW_MS = 5_000;

/** Rules by the context and organisation that they wait in, as the log has them. */
class Rules {
  readonly #options: RulesOptions;
  readonly #index: LiveIndex;
  readonly #known = new Map<string, Known>();
  readonly #places = new Map<string, Set<string>>();
  #freshAt = 0;

  constructor(options: RulesOptions, index: LiveIndex) {
    this.#options = options;
    this.#index = index;
    index.onChange((kind, id) => {
      if (kind === rule.kind) this.#take(id);
    });
  }

  async begin(): Promise<void> {
    await this.#index.caughtUp();
    for (const { id } of this.#index.all(rule)) this.#take(id);
  }

  #take(id: string): void {
    const before = this.#known.get(id)?.state;
    if (before !== undefined) this.#places.get(placeOf(before))?.delete(id);
    const entry = this.#index.get(rule, id);
    if (entry === undefined || entry.state.when?.kind !== "event") return void this.#known.delete(id);
    const { state } = entry;
    const known = this.#known.get(id);
    const version = state.generation;
    const ready = known?.version === version ? known.ready : this.#ready(state);
    this.#known.set(id, { state, version, ready });
    const place = placeOf(state);
    this.#places.set(place, (this.#places.get(place) ?? new Set()).add(id));
  }

  #ready(state: RuleState): ReadyRule | undefined {
    try {
      return readyRule(state);
    } catch (err) {
      this.#options.logger.error({ err, rule: state.id }, "a rule cannot be read; save it again");
      return undefined;
    }
  }

  /** Every rule that was there before a moment (milliseconds since 1970) is known here. @throws LogUnavailable */
  async fresh(atMs: number): Promise<void> {
    if (atMs < this.#freshAt - SKEW_MS) return;
    const now = Date.now();
    const head = await this.#options.log.head(automation.name);
    if (!(await this.#index.reached(head, REACHED_MS))) throw new LogUnavailable({ what: "rules" });
    this.#freshAt = now;
  }

  /** Those that wait for something in a commit. */
  of({ context, kind, aggregate, organisation, time, events }: StoredCommit): ReadonlyArray<Known> {
    const found: Known[] = [];
    for (const id of this.#places.get(`${organisation} ${context}`) ?? []) {
      const known = this.#known.get(id)!;
      if (known.ready === undefined || time < Date.parse(known.state.since)) continue;
      if (events.some(({ type }) => known.ready!.wants(kind, type, aggregate))) found.push(known);
    }
    return found;
  }
}

const placeOf = ({ organisation, when }: RuleState): string =>
  `${organisation} ${when?.kind === "event" ? when.context : ""}`;

/** Listens until the signal is aborted. */
export async function listenForRules(
  options: RulesOptions,
): Promise<{ readonly listeners: ReadonlyArray<Listener>; stop(): Promise<void> }> {
  const { log, logger } = options;
  const index = await startLiveIndex({
    log,
    context: automation.name,
    kinds: [rule],
    keep: (_, state: RuleState) => state.exists && state.enabled,
    onError: (err) => logger.warn({ err }, "the index of rules starts again"),
  });
  const rules = new Rules(options, index);
  const begun = rules.begin();
  const listeners = Object.keys(CONTEXTS).map((context) =>
    listen({
      ...options,
      name: "rules",
      context,
      from: "beginning",
      wants: async (commit) => {
        await begun;
        await rules.fresh(commit.time);
        return rules.of(commit).length > 0;
      },
      hear: (commit, { late }) => hear(options, rules.of(commit), commit, late),
    }),
  );
  return { listeners, stop: () => index.stop() };
}

/** @throws LogUnavailable, UnknownEvent, Error when a rule cannot take note of it */
async function hear(
  { log }: RulesOptions,
  rules: ReadonlyArray<Known>,
  commit: StoredCommit,
  late: boolean,
): Promise<void> {
  const kind = kindOf(commit.context, commit.kind);
  if (kind === undefined) return;
  let entity: unknown;
  if (rules.some(({ ready }) => ready!.needsEntity)) entity = await entityAfter(log, kind, commit);
  for (const [index, stored] of commit.events.entries()) {
    const wanting = rules.filter(({ ready }) => ready!.wants(commit.kind, stored.type, commit.aggregate));
    if (wanting.length === 0) continue;
    const happened = happenedIn(kind, commit, index);
    if (happened === undefined) continue;
    for (const { state, ready } of wanting) {
      const made = ready!.ask(happened, entity);
      if (made === undefined) continue;
      const { organisation, correlation, hops = 0, trace } = commit;
      const commandId = `${state.id}.${commit.context}.${happened.id}`;
      const forbidden = !(await mayRead(log, kind, commit, state));
      const chain = { hops: hops + 1, correlation, causation: commit.id };
      const { id, type, entity: of } = happened;
      faultPoint("rule.trigger.before");
      const outcome = await execute(
        log,
        {
          kind: rule,
          id: state.id,
          command: { do: "trigger", event: { id, type, kind: commit.kind, entity: of }, made, chain, forbidden, late },
        },
        {
          organisation,
          actor: { kind: "service", id: state.id, name: state.name },
          commandId,
          digest: "",
          correlation,
          causation: commit.id,
          hops: hops + 1,
          now: new Date().toISOString(),
          ...(trace === undefined ? {} : { trace }),
        },
      );
      faultPoint("rule.trigger.after");
      // Deleted meanwhile: nothing waits for it any more.
      if ("refusal" in outcome && outcome.refusal.refused !== "not-found")
        throw new Error(JSON.stringify(outcome.refusal));
    }
  }
}

/** Whether the maker may read what the rule sees. */
async function mayRead(log: EventLog, kind: Kind, commit: StoredCommit, state: RuleState): Promise<boolean> {
  const { organisation, aggregate } = commit;
  const powers = await powersOf(log, state.maker.token, organisation, Date.now());
  const loaded = kind.parents === undefined ? undefined : await log.aggregates.load(kind, aggregate);
  const lineage = [aggregate, ...(loaded === undefined ? [] : kind.parents!(loaded.state))];
  return powers.allows(`${kind.context}:read`, organisation, lineage);
}
