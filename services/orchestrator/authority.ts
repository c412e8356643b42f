/**
 * By whose permission something is done that nobody asks for at that moment: what the token of its maker may do now. What was taken from the
 * token, or from its member, is gone for what they made, too.
 */
import { grantsOfBinding, type Held, Powers } from "@millrace/contracts/access.ts";
import { type Binding, builtInRole } from "@millrace/contracts/identity/roles.ts";
import { member } from "@millrace/domain/identity/member.ts";
import { organisation } from "@millrace/domain/identity/organisation.ts";
import { role } from "@millrace/domain/identity/role.ts";
import { token } from "@millrace/domain/identity/token.ts";
import type { EventLog } from "@millrace/eventlog/eventlog.ts";

const NOTHING = new Powers([]);

/**
 * What a token may do at this moment; nothing, when it was revoked, has run out, or its member was removed, or where the organisation that is
 * acted in was archived.
 * @throws LogUnavailable, UnknownEvent
 */
export async function powersOf(log: EventLog, tokenId: string, actedIn: string, nowMs: number): Promise<Powers> {
  const { aggregates } = log;
  const [{ state }, { state: home }] = await Promise.all([
    aggregates.load(token, tokenId),
    aggregates.load(organisation, actedIn),
  ]);
  const { id, name, grants, bindings, expiresAt, revokedAt } = state;
  const foreign = state.organisation !== actedIn && !state.installation;
  if (state.createdAt === "" || revokedAt !== null || foreign || home.archivedAt != null) return NOTHING;
  if (expiresAt !== null && Date.parse(expiresAt) <= nowMs) return NOTHING;
  const own: Held[] = grants.map((grant) => ({ grant, via: { kind: "grant" } }));
  const ofToken = { of: { kind: "token", id, name }, held: [...own, ...(await heldBy(log, bindings))] } as const;
  if (state.member === null) return new Powers([ofToken]);
  const person = (await aggregates.load(member, state.member)).state;
  if (person.createdAt === "" || person.removedAt !== null) return NOTHING;
  const of = { kind: "member", id: person.id, name: person.name } as const;
  return new Powers([{ of, held: await heldBy(log, person.bindings) }, ofToken]);
}

async function heldBy(log: EventLog, bindings: ReadonlyArray<Binding>): Promise<Held[]> {
  const held = await Promise.all(
    bindings.map(async ({ role: name, id, at }): Promise<Held[]> => {
      const own = id === undefined ? builtInRole(name) : (await log.aggregates.load(role, id)).state;
      if (own === undefined || ("deletedAt" in own && own.deletedAt !== null)) return [];
      const via = { kind: "binding", role: name, ...(at === undefined ? {} : { at }) } as const;
      return grantsOfBinding(own.grants, at).map((grant) => ({ grant, via }));
    }),
  );
  return held.flat();
}
