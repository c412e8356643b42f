/** Members, their roles, and one's own profile. Invitations and roles stand beside. */
import { randomBytes } from "node:crypto";
import { Api } from "@millrace/contracts/api.ts";
import { type Binding, isOwnership } from "@millrace/contracts/identity/roles.ts";
import { NotFound } from "@millrace/contracts/problems.ts";
import { makeToken } from "@millrace/contracts/token.ts";
import type { Giving } from "@millrace/domain/identity/bindings.ts";
import { isOwner, type Member, member, OVERTAKEN, type ProfileChange } from "@millrace/domain/identity/member.ts";
import { organisation } from "@millrace/domain/identity/organisation.ts";
import { type Token, token } from "@millrace/domain/identity/token.ts";
import { members as memberView } from "@millrace/domain/identity/views.ts";
import type { Kind } from "@millrace/domain/kind.ts";
import * as HttpServerResponse from "effect/http/HttpServerResponse";
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder";
import { seenOf } from "../answers.ts";
import type { Asked } from "../asked.ts";
import {
  carryOutAll,
  commands,
  generationSeen,
  type Handle,
  handle,
  json,
  type Request,
  type Together,
} from "../command.ts";
import { fail } from "../failures.ts";
import { type Gateway, loadOwn } from "../gateway.ts";
import { history } from "../history.ts";
import { hashOf } from "../identity.ts";
import { past } from "../past.ts";
import { list } from "../queries.ts";
import { explain } from "./explain.ts";
import { shownOnce, showSecret } from "./identity.ts";
import { accept, invitationHandlers } from "./invitations.ts";
import { bindingOf, type Give } from "./role-binding.ts";
import { roleHandlers } from "./roles.ts";

const referenceOf = ({ params }: Request): string => (params as { id: string }).id;

/** The one that somebody has, whether or not its role and place still are there. */
const bindingHeld = (bindings: ReadonlyArray<Binding>, { role, at }: Give): Binding | undefined =>
  bindings.find((one) => (one.role === role || one.id === role) && one.at === at);

/** Gives or takes a role; with ownership the organisation keeps its list of owners in the same breath. */
const giving = <S extends Member | Token, R extends Request>(
  gateway: Gateway,
  kind: Kind<S>,
  gives: boolean,
  command: (giving: Giving & { readonly seen?: number }) => object,
): Handle<R> =>
  handle(gateway, async (request, asked) => {
    const seen = generationSeen(request, false);
    const { id } = await loadOwn(gateway, kind, asked, referenceOf(request));
    const give = request.payload as Give;
    const giver = asked.powers!.grants;
    const plan: Together["plan"] = async () => {
      const { state } = await loadOwn(gateway, kind, asked, id);
      const held = gives ? undefined : bindingHeld(state.bindings, give);
      const binding = held ?? (await bindingOf(gateway, asked, give));
      const grants = gateway.identity.grantsOf(binding);
      const first = { kind, id, command: command({ binding, grants, giver, ...seenOf(seen) }) };
      if (kind.kind !== "member" || !isOwnership(binding)) return [first];
      const owners = { type: gives ? "AddOwner" : "RemoveOwner", member: id };
      return [first, { kind: organisation, id: asked.organisation!.id, command: owners }];
    };
    return answerFirst(
      kind,
      await carryOutAll(gateway, request, asked, { target: targetOf(asked, id), plan, isOvertaken }),
    );
  });

const targetOf = ({ route }: Asked, id: string): string => `${route} ${id}`;

const answerFirst = (kind: Kind, { loaded, headers }: Awaited<ReturnType<typeof carryOutAll>>) => {
  const { state } = loaded[0]!;
  return json(kind.represent(state), { headers: { ...headers, etag: `"${kind.generation(state)}"` } });
};

const isOvertaken: Together["isOvertaken"] = (refusal) => refusal.refused === "rule" && refusal.rule === OVERTAKEN;

const remove = <R extends Request>(gateway: Gateway): Handle<R> =>
  handle(gateway, async (request, asked) => {
    const seen = generationSeen(request, true);
    const { id } = await loadOwn(gateway, member, asked, referenceOf(request));
    const giver = asked.powers!.grants;
    const plan: Together["plan"] = async () => {
      const { state } = await gateway.log.aggregates.load(member, id);
      const grants = state.bindings.flatMap((binding) => gateway.identity.grantsOf(binding));
      const owner = isOwner(state);
      const first = { kind: member, id, command: { do: "remove", giver, grants, owner, ...seenOf(seen) } };
      const owners = { type: "RemoveOwner", member: id };
      return owner ? [first, { kind: organisation, id: asked.organisation!.id, command: owners }] : [first];
    };
    const { headers } = await carryOutAll(gateway, request, asked, { target: targetOf(asked, id), plan, isOvertaken });
    return HttpServerResponse.empty({ status: 204, headers });
  });

/** Oneself. @throws Failed (not-found) for a token that is nobody's */
function selfOf({ token: me }: Asked): string {
  return (
    me!.member ??
    fail(
      new NotFound({
        detail: "The token is no member's: it stands for itself.",
        fix: "Use the token that you were given when you accepted an invitation, or one that you made with it.",
      }),
    )
  );
}

export const memberRoutes = (gateway: Gateway) =>
  HttpApiBuilder.group(Api, "members", (handlers) => {
    const tokens = commands(gateway, token);
    const pastMembers = past(gateway, member);
    const invitations = invitationHandlers(gateway);
    const roles = roleHandlers(gateway);
    const ofMember = (word: "bind" | "unbind") =>
      giving(gateway, member, word === "bind", (parts) => ({ do: word, ...parts }));
    const ofToken = (type: "GiveTokenRole" | "TakeTokenRole") =>
      giving(gateway, token, type === "GiveTokenRole", (parts) => ({ type, ...parts }));
    return handlers
      .handle("listMembers", list(gateway, memberView))
      .handle("getMember", pastMembers.get())
      .handle("removeMember", remove(gateway))
      .handle("giveRole", ofMember("bind"))
      .handle("takeRole", ofMember("unbind"))
      .handle("historyOfMember", history(gateway, member))
      .handle("diffMember", pastMembers.diff())
      .handle("giveRoleToToken", ofToken("GiveTokenRole"))
      .handle("takeRoleFromToken", ofToken("TakeTokenRole"))
      .handle(
        "getProfile",
        handle(gateway, async (_, asked) => {
          const { state } = await loadOwn(gateway, member, asked, selfOf(asked));
          return json(member.represent(state), { headers: { etag: `"${state.generation}"` } });
        }),
      )
      .handle(
        "changeProfile",
        handle(gateway, async (request, asked) => {
          const id = selfOf(asked);
          const seen = generationSeen(request, true);
          const change = { do: "profile", ...(request.payload as ProfileChange), ...seenOf(seen) };
          const plan: Together["plan"] = async () => [{ kind: member, id, command: change }];
          return answerFirst(
            member,
            await carryOutAll(gateway, request, asked, { target: targetOf(asked, id), plan, isOvertaken }),
          );
        }),
      )
      .handle(
        "createOwnToken",
        tokens.create(({ payload }, asked) => {
          const secret = makeToken("mrt", randomBytes);
          shownOnce.set(asked, secret);
          return {
            type: "CreateToken",
            ...payload,
            grants: payload.grants ?? asked.token!.grants,
            hash: hashOf(secret),
            last8: secret.slice(-8),
            installation: false,
            member: selfOf(asked),
            // What one may do oneself bounds it whenever it is used; what this token may not do, it hands out to nobody.
            granter: asked.powers!.ofToken.grants,
          };
        }, showSecret),
      )
      .handle("invite", invitations.invite)
      .handle("listInvitations", invitations.list)
      .handle("getInvitation", invitations.get)
      .handle("revokeInvitation", invitations.revoke)
      .handle("historyOfInvitation", invitations.history)
      .handle("diffInvitation", invitations.diff)
      .handle("acceptInvitation", accept(gateway))
      .handle("listRoles", roles.list)
      .handle("defineRole", roles.define)
      .handle("getRole", roles.get)
      .handle("changeRole", roles.change)
      .handle("deleteRole", roles.remove)
      .handle("historyOfRole", roles.history)
      .handle("diffRole", roles.diff)
      .handle("explain", explain(gateway));
  });
