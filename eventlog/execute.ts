/**
 * The one function that loads, decides and appends. The gateway and every worker change things through it, so rules
 * exist once. A command is decided on what this process last saw; refused, or overtaken by another writer, it is
 * loaded afresh and decided again.
 */
import { createHash } from "node:crypto";
import { type Actor, type Circumstances, type Claim, isRefusal, type Refusal } from "@millrace/domain/decider.ts";
import type { Kind } from "@millrace/domain/kind.ts";
import { nuid } from "@nats-io/transport-node";
import { foldCommit, type Loaded } from "./aggregate.ts";
import type { Entry } from "./append.ts";
import { type Commit, decodeClaimBody, encodeBody, type StoredCommit } from "./commit.ts";
import type { EventLog } from "./eventlog.ts";
import { AppendConflict } from "./failures.ts";
import { appendMeter, type CommandOutcome, commandMeter, loads } from "./meters.ts";
import { aggregateSubject, claimSubject, logStream } from "./subjects.ts";
import { ATTRIBUTES, SPANS } from "./telemetry.ts";
import { tracingEnabled, withSpan } from "./tracing.ts";

export interface CommandContext {
  readonly organisation: string;
  readonly actor: Actor;
  /** Deterministic where the client gave an idempotency key. */
  readonly commandId: string;
  /** Of the command's input: a repeat with another input is refused. */
  readonly digest: string;
  /** The same input's digests by keys of before, which a repeat may meet after the key was changed. */
  readonly olderDigests?: ReadonlyArray<string>;
  readonly correlation: string;
  readonly causation: string;
  /** How many rules stand between this and what somebody outside asked for; left out: none. */
  readonly hops?: number;
  /** RFC 3339. */
  readonly now: string;
  readonly trace?: string;
}

/** What a service commands by itself, caused by nobody. @param commandId given where it must be the same in a second try */
export function ownContext(service: string, organisation: string, commandId = `cmd_${nuid.next()}`): CommandContext {
  return {
    organisation,
    actor: { kind: "service", id: service, name: service },
    commandId,
    digest: "",
    correlation: commandId,
    causation: commandId,
    now: new Date().toISOString(),
  };
}

/** One aggregate's part of a change. */
export interface Change<S = any, C = any> {
  readonly kind: Kind<S, C>;
  readonly id: string;
  readonly command: C;
  /** The aggregate may belong to another organisation than the command's (never for what clients ask). */
  readonly anyOrganisation?: boolean;
}

export interface Executed<S> {
  readonly loaded: Loaded<S>;
  /** Sequence after which everything this command did can be read. */
  readonly seq: number;
  /** The command had been carried out before; `loaded` is the aggregate as it was then. */
  readonly repeated: boolean;
}

export type Outcome<S> = { readonly ok: Executed<S> } | { readonly refusal: Refusal };

const TRIES = 8;

/** @throws LogUnavailable, CommitRefused, UnknownEvent, and AppendConflict after several overtakings */
export async function execute<S, C>(log: EventLog, change: Change<S, C>, context: CommandContext): Promise<Outcome<S>> {
  const outcome = await executeAll(log, [change], context);
  return "refusal" in outcome ? outcome : { ok: outcome.ok[0] as Executed<S> };
}

/** Several aggregates of one context, all or nothing. */
export async function executeAll(
  log: EventLog,
  changes: ReadonlyArray<Change>,
  context: CommandContext,
): Promise<{ readonly ok: ReadonlyArray<Executed<any>> } | { readonly refusal: Refusal }> {
  const meter = commandMeter(changes[0]!.kind);
  const began = performance.now();
  try {
    const carried = await (tracingEnabled() ? traced : carryOut)(log, changes, context);
    meter.ended(carried.outcome, began);
    return carried;
  } catch (error) {
    meter.failed(error, began);
    throw error;
  }
}

type Carried =
  | { readonly outcome: "refused"; readonly refusal: Refusal }
  | { readonly outcome: Exclude<CommandOutcome, "refused">; readonly ok: ReadonlyArray<Executed<any>> };

function traced(log: EventLog, changes: ReadonlyArray<Change>, context: CommandContext): Promise<Carried> {
  const { kind, id } = changes[0]!;
  const attributes = {
    [ATTRIBUTES.context]: kind.context,
    [ATTRIBUTES.kind]: kind.kind,
    [ATTRIBUTES.aggregate]: id,
    [ATTRIBUTES.organisation]: context.organisation,
    [ATTRIBUTES.command]: context.commandId,
  };
  const work = async (span: { set(name: string, value: string): void }) => {
    const carried = await carryOut(log, changes, context);
    span.set(ATTRIBUTES.outcome, carried.outcome);
    return carried;
  };
  return withSpan(SPANS.command(kind.context, kind.kind), attributes, work, { parent: context.trace });
}

async function carryOut(log: EventLog, changes: ReadonlyArray<Change>, context: CommandContext): Promise<Carried> {
  let fresh = false;
  for (let attempt = 0; ; attempt++) {
    const { kind } = changes[0]!;
    const { before, step } = tracingEnabled()
      ? await withSpan(SPANS.decide(kind.context, kind.kind), { [ATTRIBUTES.attempt]: attempt }, () =>
          loadAndDecide(log, changes, context, fresh),
        )
      : await loadAndDecide(log, changes, context, fresh);
    if ("refusal" in step) {
      if (fresh) return { outcome: "refused", refusal: step.refusal };
      fresh = true; // Refused on what we remembered: ask the log before saying no.
      continue;
    }
    if ("repeated" in step) return { outcome: "repeated", ok: step.repeated };
    if (step.entries.length === 0) {
      if (!fresh) {
        fresh = true; // "Already so" is an answer about the present, too.
        continue;
      }
      return { outcome: "unchanged", ok: before.map((loaded) => ({ loaded, seq: loaded.seq, repeated: false })) };
    }
    try {
      const { seqs } = await log.append(kind.context, step.entries);
      const now = Date.now();
      let events = 0;
      for (const { commit } of step.commits) events += commit?.events.length ?? 0;
      appendMeter(kind.context).committed(step.commits.length, events);
      const ok = step.commits.map(({ commit, at }, i) => {
        if (commit === undefined) return { loaded: before[i]!, seq: before[i]!.seq, repeated: false };
        const { kind, id } = changes[i]!;
        const subject = aggregateSubject(kind.context, kind.kind, id);
        const stored: StoredCommit = {
          ...commit,
          context: kind.context,
          kind: kind.kind,
          aggregate: id,
          subject,
          seq: seqs[at]!,
          time: now,
        };
        const loaded = foldCommit(kind, before[i]!, stored);
        // The log's own time is not in the answer; what depends on it is folded from the log by the next reader.
        log.aggregates.keep(kind, loaded);
        return { loaded, seq: seqs[seqs.length - 1]!, repeated: false };
      });
      return { outcome: "done", ok };
    } catch (error) {
      if (!(error instanceof AppendConflict) || attempt >= TRIES) throw error;
      fresh = true;
      if (attempt > 1) await new Promise((resolve) => setTimeout(resolve, Math.random() * 4 * 2 ** attempt));
    }
  }
}

async function loadAndDecide(log: EventLog, changes: ReadonlyArray<Change>, context: CommandContext, fresh: boolean) {
  const before = await Promise.all(
    changes.map((change) => {
      const known = fresh ? undefined : log.aggregates.cached(change.kind, change.id);
      if (known === undefined) return log.aggregates.load(change.kind, change.id);
      loads.cache.inc();
      return known;
    }),
  );
  return { before, step: await decideAll(log, changes, before, context) };
}

type Step =
  | { readonly refusal: Refusal }
  | { readonly repeated: ReadonlyArray<Executed<any>> }
  | {
      readonly entries: ReadonlyArray<Entry>;
      readonly commits: ReadonlyArray<{ readonly commit: Commit | undefined; readonly at: number }>;
    };

async function decideAll(
  log: EventLog,
  changes: ReadonlyArray<Change>,
  before: ReadonlyArray<Loaded<any>>,
  context: CommandContext,
): Promise<Step> {
  const circumstances: Circumstances = { organisation: context.organisation, actor: context.actor, now: context.now };
  const entries: Entry[] = [];
  const commits: { commit: Commit | undefined; at: number }[] = [];
  const claims: { claim: Claim; holder: string; commit: string }[] = [];

  const earlier = before[0]!.commands.get(context.commandId);
  if (earlier !== undefined) {
    const same = earlier.digest === context.digest || context.olderDigests?.includes(earlier.digest);
    if (!same) return { refusal: OTHER_INPUT };
    const repeated = await Promise.all(
      changes.map(async ({ kind, id }, i) => {
        const then = before[i]!.commands.get(context.commandId);
        const loaded =
          then === undefined ? before[i]! : await log.aggregates.loadUntil(kind, id, { version: then.version });
        return { loaded, seq: then?.seq ?? loaded.seq, repeated: true };
      }),
    );
    return { repeated };
  }

  for (const [i, { kind, id, command, anyOrganisation }] of changes.entries()) {
    const loaded = before[i]!;
    if (loaded.organisation !== undefined && loaded.organisation !== context.organisation && anyOrganisation !== true) {
      // Word for word what would be said if it were not there.
      const decision = kind.decider.decide(command, kind.decider.initial(id), circumstances);
      const nothing: Refusal = { refused: "not-found", reason: "There is no such thing in this organisation." };
      return { refusal: isRefusal(decision) ? decision : nothing };
    }
    const decision = kind.decider.decide(command, loaded.state, circumstances);
    if (isRefusal(decision)) return { refusal: decision };
    if (decision.events.length === 0) {
      commits.push({ commit: undefined, at: -1 });
      continue;
    }
    const commitId = createHash("sha256")
      .update(`${context.commandId}\n${kind.kind}\n${id}`)
      .digest("base64url")
      .slice(0, 27);
    const commit: Commit = {
      id: commitId,
      organisation: context.organisation,
      version: loaded.version + decision.events.length,
      actor: context.actor,
      command: context.commandId,
      digest: context.digest,
      correlation: context.correlation,
      causation: context.causation,
      ...(context.hops === undefined ? {} : { hops: context.hops }),
      at: context.now,
      ...(context.trace === undefined ? {} : { trace: context.trace }),
      events: decision.events.map(({ type, data }) => ({ type, v: kind.events[type]!.version, data })),
    };
    commits.push({ commit, at: entries.length });
    entries.push({
      subject: aggregateSubject(kind.context, kind.kind, id),
      data: encodeBody(commit),
      id: commitId,
      expected: loaded.seq,
      ...(context.trace === undefined ? {} : { headers: { traceparent: context.trace } }),
    });
    for (const claim of decision.claims ?? []) claims.push({ claim, holder: id, commit: commitId });
  }

  const seen = new Set<string>();
  for (const { claim, holder, commit } of claims) {
    const found = await readClaim(log, changes[0]!.kind.context, claim);
    if (claim.hold && found.holder !== null && found.holder !== holder) return { refusal: claim.taken };
    if (claim.hold === (found.holder === holder)) continue;
    if (!claim.hold && found.holder !== holder) continue;
    const subject = claimSubject(changes[0]!.kind.context, claim.what, claim.value);
    if (seen.has(subject)) continue;
    seen.add(subject);
    entries.push({
      subject,
      data: encodeBody({ holder: claim.hold ? holder : null, commit }),
      id: `${commit}.${claim.what}.${seen.size}`,
      expected: found.seq,
    });
  }
  return { entries, commits };
}

const OTHER_INPUT: Refusal = {
  refused: "rule",
  rule: "idempotency-key-reused",
  reason: "This Idempotency-Key was used before with another input.",
  fix: "Use a new key for a new request; repeat a request with exactly the input it had.",
};

/** Who holds a unique value now, and the sequence to expect when changing that. @throws LogUnavailable */
export async function readClaim(
  log: EventLog,
  context: string,
  claim: Pick<Claim, "what" | "value">,
): Promise<{ readonly holder: string | null; readonly seq: number }> {
  const message = await log.lastMessage(logStream(context), claimSubject(context, claim.what, claim.value));
  return message === null
    ? { holder: null, seq: 0 }
    : { holder: decodeClaimBody(message.data).holder, seq: message.seq };
}

/** Who holds each of these values now, in their order; null: nobody. @throws LogUnavailable */
export async function holdersOf(
  log: EventLog,
  context: string,
  claims: ReadonlyArray<Pick<Claim, "what" | "value">>,
): Promise<ReadonlyArray<string | null>> {
  const holders: (string | null)[] = [];
  for (let at = 0; at < claims.length; at += CLAIMS_AT_ONCE) {
    const some = claims.slice(at, at + CLAIMS_AT_ONCE);
    holders.push(...(await Promise.all(some.map(async (claim) => (await readClaim(log, context, claim)).holder))));
  }
  return holders;
}

const CLAIMS_AT_ONCE = 64;

/** What plans read (domain/reads.ts), by this log. */
export const readsOf = (log: EventLog) => ({
  load: <S>(kind: Kind<S>, id: string) => log.aggregates.load(kind, id),
  holderOf: async (kind: Kind, organisation: string, name: string): Promise<string | null> => {
    const claim = kind.nameClaim?.(organisation, name);
    return claim === undefined ? null : (await readClaim(log, kind.context, claim)).holder;
  },
});
