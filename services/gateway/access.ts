/** Who may do what: from a credential, a permission and the path to the caller, or the problem that says no. */
import type { ServerResponse } from "node:http";
import { EVERYTHING, type Powers, type Reach } from "@millrace/contracts/access.ts";
import type { Permission } from "@millrace/contracts/permissions.ts";
import { Forbidden, NotFound, type Problem, Refused, Unauthenticated } from "@millrace/contracts/problems.ts";
import type { Organisation } from "@millrace/domain/identity/organisation.ts";
import type { Token } from "@millrace/domain/identity/token.ts";
import { metrics } from "@millrace/eventlog/telemetry.ts";
import type { Asked } from "./asked.ts";
import { fail, unavailable } from "./failures.ts";
import type { IdentityDirectory } from "./identity.ts";
import type { LimitClass, Limits } from "./limits.ts";
import type { TokenUses } from "./uses.ts";

export interface Need {
  readonly permission: Permission | "public" | "authenticated";
  /** Of the path; undefined where the path names none. */
  readonly organisation: string | undefined;
  /** Changes something: not in an archived organisation. */
  readonly changes: boolean;
}

export interface Access {
  readonly token: Token;
  readonly organisation: Organisation | undefined;
  readonly powers: Powers;
  /** What the permission is held for: with any set in it, the resource has yet to be looked at. */
  readonly reach: Reach;
}

/** What concerns the whole installation is for its owner's tokens alone, whatever others were granted. */
const ofInstallation = ({ permission, organisation }: Need): boolean =>
  permission === "identity:install" || (permission.startsWith("system:") && organisation === undefined);

const uses = {
  accepted: metrics.tokenUses.labels({ outcome: "accepted" }),
  expired: metrics.tokenUses.labels({ outcome: "expired" }),
  revoked: metrics.tokenUses.labels({ outcome: "revoked" }),
  unknown: metrics.tokenUses.labels({ outcome: "unknown" }),
  removed: metrics.tokenUses.labels({ outcome: "revoked" }),
  malformed: metrics.tokenUses.labels({ outcome: "unknown" }),
};

const REFUSED = {
  expired: "The token has expired.",
  revoked: "The token was revoked.",
  removed: "The member whose token it is was removed.",
  unknown: "The token is not known here.",
  malformed: "This is no token: it was mistyped or cut off.",
};

/** After waiting: what may be told is what may be told now. @throws Failed when the caller is no more, or may other things than before */
export function stillMay({ identity }: { readonly identity: IdentityDirectory }, asked: Asked): void {
  const token = identity.token(asked.token!.id)!;
  const isOver = token.revokedAt !== null || (token.expiresAt !== null && Date.parse(token.expiresAt) <= Date.now());
  const now = identity.powersOf(token);
  if (isOver || now.layers.length === 0) fail(new Unauthenticated({ detail: REFUSED.revoked, fix: GET_ONE }));
  if (now === asked.powers || now.text === asked.powers!.text) return;
  fail(new Forbidden({ detail: "What the token may do has changed meanwhile.", fix: "Ask again." }));
}

/** What is asked, and where it comes from. */
export interface Counted {
  readonly address: string;
  readonly class: LimitClass;
  /** Told how much is left. */
  readonly response?: ServerResponse | undefined;
}

/** Counts one more request of a token; public ones are counted by address alone. @returns why not */
export function counted(limits: Limits, token: string | undefined, by: Counted): Problem | undefined {
  const { address, response } = by;
  const ofAddress = limits.take("address", address, token === undefined ? response : undefined);
  if (ofAddress !== undefined || token === undefined) return ofAddress;
  return limits.take(by.class, token, response);
}

/** One that let nobody in is a try. @returns what is answered instead, when there were too many */
export function tried(limits: Limits, problem: Problem, { address, response }: Counted): Problem {
  return problem.status === 401 ? (limits.take("tries", address, response) ?? problem) : problem;
}

const GET_ONE = "Send `Authorization: Bearer <token>`; `mill tokens create` or whoever runs this gives you one.";

/**
 * @param credential the token's secret, "" when none was sent
 * @returns the access, or the problem to answer with
 */
export function admit(
  identity: IdentityDirectory,
  counted: TokenUses,
  credential: string,
  need: Need,
): Access | Problem {
  const trouble = identity.trouble;
  if (trouble !== undefined) return unavailable("identity", `Nobody can be authorised at this moment: ${trouble}.`);
  if (credential === "") return new Unauthenticated({ detail: "No token was sent.", fix: GET_ONE });
  const now = Date.now();
  const found = identity.authenticate(credential, now);
  if ("failed" in found) {
    uses[found.failed].inc();
    return new Unauthenticated({ detail: REFUSED[found.failed], fix: GET_ONE });
  }
  uses.accepted.inc();
  const { token } = found;
  counted.used(token, now);

  const organisation = need.organisation === undefined ? undefined : identity.organisation(need.organisation);
  if (need.organisation !== undefined) {
    // Somebody else's organisation answers as if there were none.
    const visible = organisation !== undefined && (token.installation || organisation.id === token.organisation);
    if (!visible) return new NotFound({ detail: "There is no such organisation." });
  }
  const powers = identity.powersOf(token);
  const reach = reachFor(token, powers, need, organisation);
  if (reach === undefined) return forbidden(need.permission);
  if (need.changes && organisation?.archivedAt != null && !endsAccess(need)) return ARCHIVED;
  return { token, organisation, powers, reach };
}

/** @returns undefined: not at all */
function reachFor(token: Token, powers: Powers, need: Need, organisation: Organisation | undefined): Reach | undefined {
  if (need.permission === "public" || need.permission === "authenticated") return EVERYTHING;
  if (ofInstallation(need) && !token.installation) return undefined;
  return powers.reach(need.permission, organisation?.id ?? token.organisation);
}

export const forbidden = (permission: string): Forbidden =>
  new Forbidden({
    permission,
    detail: `It takes the permission ${permission}.`,
    fix: `\`mill why ${permission}\` tells what is missing; whoever may give roles or make tokens can help.`,
  });

/** A leaked token of an archived organisation can still be revoked, a member removed. */
const endsAccess = (need: Need): boolean =>
  need.permission === "identity:tokens" || need.permission === "identity:members";

export const ARCHIVED = new Refused({
  rule: "organisation-archived",
  reason: "The organisation is archived: it can be read, and changed no more.",
  detail: "The organisation is archived: it can be read, and changed no more.",
  fix: "Work in another organisation.",
});
