/**
 * Organisations, members, roles and tokens in memory, kept by following the identity log from its beginning: authorisation needs no
 * database, and a token that was revoked anywhere is refused here within the time an event takes.
 */
import { createHash } from "node:crypto";
import type { Layer, Powers } from "@millrace/contracts/access.ts";
import { type Binding, builtInRole } from "@millrace/contracts/identity/roles.ts";
import { isToken } from "@millrace/contracts/token.ts";
import { type Member, member } from "@millrace/domain/identity/member.ts";
import { type Organisation, organisation } from "@millrace/domain/identity/organisation.ts";
import { grantsOf, layerOfMember, powersOf, type RoleOf } from "@millrace/domain/identity/powers.ts";
import { type Role, role } from "@millrace/domain/identity/role.ts";
import { type Token, token } from "@millrace/domain/identity/token.ts";
import type { Kind } from "@millrace/domain/kind.ts";
import { metaOf } from "@millrace/eventlog/aggregate.ts";
import type { StoredCommit } from "@millrace/eventlog/commit.ts";
import type { EventLog } from "@millrace/eventlog/eventlog.ts";
import { LogUnavailable } from "@millrace/eventlog/failures.ts";
import { type FollowBatch, follow } from "@millrace/eventlog/follow.ts";
import type { Place } from "@millrace/eventlog/sealing.ts";
import { upcast } from "@millrace/eventlog/upcast.ts";

export type Authenticated =
  | { readonly token: Token }
  | { readonly failed: "malformed" | "unknown" | "expired" | "revoked" | "removed" };

/** How long the connection to the log may be away before what is known here is no longer trusted. */
const TRUSTED_MS = 1_000;

export const hashOf = (secret: string): string => createHash("sha256").update(secret).digest("hex");

/** Folds a commit into what is known. */
function evolved<S>(kind: Kind<S>, known: Map<string, S>, commit: StoredCommit): { before: S; after: S } {
  const before = known.get(commit.aggregate) ?? kind.decider.initial(commit.aggregate);
  const after = commit.events.reduce(
    (state, event) => kind.decider.evolve(state, upcast(kind, commit, event) as never, metaOf(commit)),
    before,
  );
  known.set(commit.aggregate, after);
  return { before, after };
}

export class IdentityDirectory {
  readonly #organisations = new Map<string, Organisation>();
  readonly #names = new Map<string, string>();
  readonly #tokens = new Map<string, Token>();
  readonly #hashes = new Map<string, string>();
  readonly #members = new Map<string, Member>();
  readonly #roles = new Map<string, Role>();
  readonly #stopping = new AbortController();
  #waiting: { readonly seq: number; readonly passed: () => void }[] = [];
  /** By the token's id, until something happens in identity. */
  readonly #powers = new Map<string, Powers>();
  #seq = 0;
  #target = Number.POSITIVE_INFINITY;
  #failure: unknown;
  #awaySince: number | undefined;
  /** How often the connection was lost. */
  #cuts = 0;
  #following: Promise<void> | undefined;
  #onErased: (place: Place) => void = () => {};
  readonly #listeners = new Set<() => void>();

  /**
   * Begins to follow, and resolves when everything that was in the log has been seen.
   * @param onErased told of every erased secret, of the past and as it happens
   * @throws LogUnavailable, UnknownEvent
   */
  async start(log: EventLog, onErased: (place: Place) => void): Promise<void> {
    this.#onErased = onErased;
    this.#target = await log.head("identity");
    this.#watchConnection(log);
    this.#following = follow(log.nats, {
      context: "identity",
      fromSeq: 1,
      most: 500,
      signal: this.#stopping.signal,
      onBatch: (batch) => this.#take(batch),
    }).catch((error: unknown) => {
      this.#failure = error;
      for (const { passed } of this.#waiting.splice(0)) passed();
    });
    await this.waitFor(this.#target, 60_000);
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#following;
  }

  /** Why authorisation cannot be trusted at this moment; undefined when it can. */
  get trouble(): string | undefined {
    if (this.#failure !== undefined) {
      return `stopped before an event it cannot read: ${(this.#failure as Error).message || String(this.#failure)}`;
    }
    if (this.#seq < this.#target) return "still reading the identity log";
    const away = this.#awaySince;
    return away !== undefined && Date.now() - away > TRUSTED_MS ? "the log is away, or not heard again yet" : undefined;
  }

  /** Told after something has happened that may change what somebody may do. @returns stops it */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** Resolves when everything up to the sequence has been seen. @throws LogUnavailable when that takes too long */
  async waitFor(seq: number, timeoutMs = 5_000): Promise<void> {
    if (this.#seq >= seq) return;
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve, reject) => {
      timer = setTimeout(() => reject(new LogUnavailable({ what: "identity" })), timeoutMs);
      this.#waiting.push({ seq, passed: resolve });
    }).finally(() => clearTimeout(timer));
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** By id or by name. */
  organisation(reference: string): Organisation | undefined {
    return this.#organisations.get(reference) ?? this.#organisations.get(this.#names.get(reference) ?? "");
  }

  get organisations(): Iterable<Organisation> {
    return this.#organisations.values();
  }

  /** @param now milliseconds since 1970 */
  authenticate(secret: string, now: number): Authenticated {
    if (!isToken(secret)) return { failed: "malformed" };
    const known = this.#tokens.get(this.#hashes.get(hashOf(secret)) ?? "");
    if (known === undefined) return { failed: "unknown" };
    if (known.revokedAt !== null) return { failed: "revoked" };
    if (known.expiresAt !== null && Date.parse(known.expiresAt) <= now) return { failed: "expired" };
    if (known.member !== null && this.member(known.member) === undefined) return { failed: "removed" };
    return { token: known };
  }

  /** By id; undefined when removed. */
  member(id: string): Member | undefined {
    const known = this.#members.get(id);
    return known?.removedAt === null ? known : undefined;
  }

  /** Roles of an organisation's own making, by name. */
  rolesOf(organisationId: string): Role[] {
    return [...this.#roles.values()]
      .filter((one) => one.organisation === organisationId && one.deletedAt === null)
      .sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** By name or id; also one that comes with the product. @returns undefined when there is none */
  roleNamed(organisationId: string, reference: string): { readonly id?: string; readonly name: string } | undefined {
    if (builtInRole(reference) !== undefined) return { name: reference };
    const found = this.rolesOf(organisationId).find(({ id, name }) => id === reference || name === reference);
    return found === undefined ? undefined : { id: found.id, name: found.name };
  }

  readonly #roleOf: RoleOf = (id) => this.#roles.get(id);

  /** What a binding gives now; nothing when its role was deleted. */
  grantsOf(binding: Binding): string[] {
    return grantsOf(binding, this.#roleOf);
  }

  layerOfMember(person: Member): Layer {
    return layerOfMember(person, this.#roleOf);
  }

  /** What a token may do now. The same object, as long as that may be what it was. */
  powersOf(token: Token): Powers {
    const known = this.#powers.get(token.id);
    if (known !== undefined) return known;
    const powers = powersOf(token, token.member === null ? undefined : this.member(token.member), this.#roleOf);
    this.#powers.set(token.id, powers);
    return powers;
  }

  /** By id; a revoked one too. */
  token(id: string): Token | undefined {
    return this.#tokens.get(id);
  }

  tokenByHash(hash: string): Token | undefined {
    return this.#tokens.get(this.#hashes.get(hash) ?? "");
  }

  #take(batch: FollowBatch): void {
    for (const commit of batch.commits) {
      if (commit.kind === "organisation") this.#takeOrganisation(commit);
      else if (commit.kind === "token") this.#takeToken(commit);
      else if (commit.kind === "member") evolved(member, this.#members, commit);
      else if (commit.kind === "role") evolved(role, this.#roles, commit);
      else if (commit.events.some(({ type }) => type === "SecretErased")) {
        this.#onErased({ organisation: commit.organisation, subject: commit.aggregate });
      }
    }
    this.#seq = batch.lastSeq;
    if (batch.commits.length > 0) this.#powers.clear();
    const matters = batch.commits.some(({ events }) => events.some(({ type }) => type !== "TokenUsed"));
    if (matters) for (const listener of this.#listeners) listener();
    if (this.#waiting.length === 0) return;
    const still = this.#waiting.filter(({ seq }) => seq > this.#seq);
    const done = this.#waiting.filter(({ seq }) => seq <= this.#seq);
    this.#waiting = still;
    for (const { passed } of done) passed();
  }

  #takeOrganisation(commit: StoredCommit): void {
    const { before, after } = evolved(organisation, this.#organisations, commit);
    if (this.#names.get(before.name) === before.id) this.#names.delete(before.name);
    this.#names.set(after.name, after.id);
  }

  #takeToken(commit: StoredCommit): void {
    const { after } = evolved(token, this.#tokens, commit);
    this.#hashes.set(after.hash, after.id);
  }

  /**
   * Cut off from the log nothing is heard of revocations, so after a second nothing is believed either, until what happened
   * meanwhile has been seen.
   */
  #watchConnection(log: EventLog): void {
    void (async () => {
      for await (const { type } of log.nats.nc.status()) {
        if (type === "disconnect") {
          this.#cuts++;
          this.#awaySince ??= Date.now();
        } else if (type === "reconnect") void this.#hearAgain(log, this.#cuts);
      }
    })().catch(() => {});
  }

  async #hearAgain(log: EventLog, cut: number): Promise<void> {
    while (cut === this.#cuts && !this.#stopping.signal.aborted) {
      try {
        await this.waitFor(await log.head("identity"));
        if (cut === this.#cuts) this.#awaySince = undefined;
        return;
      } catch {
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    }
  }
}
