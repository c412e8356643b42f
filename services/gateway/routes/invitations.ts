/** Invitations: made by who may give the role, accepted by who has the secret. */
import { randomBytes } from "node:crypto";
import { isOwnership } from "@millrace/contracts/identity/roles.ts";
import { isId, makeId } from "@millrace/contracts/ids.ts";
import { NotFound, Refused } from "@millrace/contracts/problems.ts";
import { isInvitationSecret, makeToken } from "@millrace/contracts/token.ts";
import { invitation, secretClaim } from "@millrace/domain/identity/invitation.ts";
import { member } from "@millrace/domain/identity/member.ts";
import { organisation as organisationKind } from "@millrace/domain/identity/organisation.ts";
import { token } from "@millrace/domain/identity/token.ts";
import { invitations as view } from "@millrace/domain/identity/views.ts";
import { type Change, executeAll, readClaim } from "@millrace/eventlog/execute.ts";
import { faultPoint } from "@millrace/eventlog/faultpoint.ts";
import { PASSING } from "@millrace/eventlog/remembered.ts";
import { ARCHIVED } from "../access.ts";
import { commands, type Handle, handle, json, positionOf, type Request } from "../command.ts";
import { fail, problemOfRefusal } from "../failures.ts";
import type { Gateway } from "../gateway.ts";
import { history } from "../history.ts";
import { hashOf, type IdentityDirectory } from "../identity.ts";
import { past } from "../past.ts";
import { type ListQuery, list } from "../queries.ts";
import { shownOnce, showSecret } from "./identity.ts";
import { bindingOf } from "./role-binding.ts";

const USUAL_MS = 7 * 86_400_000;

const inWords = ({ state, ...query }: ListQuery): ListQuery =>
  state === undefined ? query : { ...query, stateName: state };

interface Invite {
  readonly name: string;
  readonly title?: string;
  readonly email?: string;
  readonly role: string;
  readonly at?: string;
  readonly expiresAt?: string;
}

export function invitationHandlers(gateway: Gateway) {
  const invitations = commands(gateway, invitation);
  const before = past(gateway, invitation);
  return {
    invite: invitations.create<Request>(async ({ payload }, asked) => {
      const { role, at, expiresAt, ...who } = payload as Invite;
      const binding = await bindingOf(gateway, asked, { role, ...(at === undefined ? {} : { at }) });
      const secret = makeToken("mri", randomBytes);
      shownOnce.set(asked, secret);
      return {
        do: "invite",
        ...who,
        title: who.title ?? who.name,
        binding,
        grants: gateway.identity.grantsOf(binding),
        giver: asked.powers!.grants,
        by: asked.token!.member ?? asked.token!.id,
        hash: hashOf(secret),
        last8: secret.slice(-8),
        expiresAt: expiresAt ?? new Date(Date.now() + USUAL_MS).toISOString(),
      };
    }, showSecret),
    list: list(gateway, view, { query: inWords }),
    get: before.get(),
    revoke: invitations.remove((_, seen) => ({ do: "revoke", ...(seen === undefined ? {} : { seen }) })),
    history: history(gateway, invitation),
    diff: before.diff(),
  };
}

/** What whoever made an invitation holds at this moment: nothing, when they are no more. */
function giverOf(identity: IdentityDirectory, by: string): ReadonlyArray<ReadonlyArray<string>> {
  if (isId(member.prefix, by)) {
    const person = identity.member(by);
    return person === undefined ? [] : [identity.layerOfMember(person).held.map(({ grant }) => grant)];
  }
  const maker = identity.token(by);
  const isGood = maker?.revokedAt === null && (maker.expiresAt === null || Date.parse(maker.expiresAt) > Date.now());
  return isGood ? identity.powersOf(maker).grants : [];
}

const NO_INVITATION = new NotFound({
  detail: "There is no such invitation, or it was used, revoked, or has expired.",
  fix: "Ask whoever invited you for another.",
});

const ROLE_GONE = "The role that the invitation was for is no more.";

interface Accept {
  readonly secret: string;
  readonly name?: string;
  readonly title?: string;
}

/** All or nothing: the secret is used up, the member is there, and has a token. */
export const accept = <R extends Request>(gateway: Gateway): Handle<R> =>
  handle(gateway, async ({ payload }, asked) => {
    const { secret: given, ...wanted } = payload as Accept;
    const { log, identity, limits } = gateway;
    const { address, response } = asked;
    const tooMany = limits.refusal("tries", address, response);
    if (tooMany !== undefined) fail(tooMany);
    const claim = isInvitationSecret(given) ? await readClaim(log, "identity", secretClaim(hashOf(given))) : undefined;
    const holder = claim?.holder ?? fail(limits.take("tries", address, response) ?? NO_INVITATION);
    const { state } = await log.aggregates.load(invitation, holder);
    const organisation = identity.organisation(state.organisation) ?? fail(NO_INVITATION);
    if (organisation.archivedAt !== null) fail(ARCHIVED);
    const grants = identity.grantsOf(state.binding);
    if (grants.length === 0) {
      const fix = "Ask for another invitation.";
      fail(new Refused({ rule: "invitation-outlived", reason: ROLE_GONE, detail: ROLE_GONE, fix }));
    }

    const now = Date.now();
    const memberId = makeId(member.prefix, now, randomBytes(10));
    const tokenId = makeId(token.prefix, now, randomBytes(10));
    const secret = makeToken("mrt", randomBytes);
    const { name = state.name, title = state.title } = wanted;
    const email = state.email === null ? {} : { email: state.email };
    const joined = { do: "join", name, title, ...email, bindings: [state.binding], invitation: state.id } as const;
    const changes: Change[] = [
      {
        kind: invitation,
        id: state.id,
        command: { do: "accept", member: memberId, grants, giver: giverOf(identity, state.by) },
      },
      { kind: member, id: memberId, command: joined },
      {
        kind: token,
        id: tokenId,
        command: {
          type: "CreateToken",
          // Unique: the invitation is, too.
          name: `${name.slice(0, 50)}-${state.id.slice(-8)}`,
          hash: hashOf(secret),
          last8: secret.slice(-8),
          grants: ["*"],
          installation: false,
          member: memberId,
          granter: [["*"]],
        },
      },
      ...(isOwnership(state.binding)
        ? [{ kind: organisationKind, id: organisation.id, command: { type: "AddOwner", member: memberId } } as const]
        : []),
    ];
    faultPoint("gateway.accept.before");
    const outcome = await executeAll(log, changes, {
      organisation: organisation.id,
      actor: { kind: "token", id: tokenId, name },
      commandId: `${PASSING}${randomBytes(24).toString("base64url")}`,
      digest: "",
      correlation: asked.requestId,
      causation: asked.requestId,
      now: new Date(now).toISOString(),
      trace: asked.span.traceparent,
    });
    faultPoint("gateway.accept.after");
    if ("refusal" in outcome) {
      return fail(outcome.refusal.refused === "not-found" ? NO_INVITATION : problemOfRefusal(outcome.refusal));
    }
    const seq = Math.max(...outcome.ok.map((one) => one.seq));
    await identity.waitFor(seq);
    const body = {
      member: member.represent(outcome.ok[1]!.loaded.state),
      token: token.represent(outcome.ok[2]!.loaded.state),
      secret,
    };
    return json(body, { status: 201, headers: { "millrace-position": positionOf("identity", seq) } });
  });
