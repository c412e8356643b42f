/**
 * By whose permission something is done that nobody asks for at that moment: what the token of its maker may do now. What was taken from the
 * token, or from its member, is gone for what they made, too.
 */
import { Powers } from "@millrace/contracts/access.ts";
import { member } from "@millrace/domain/identity/member.ts";
import { organisation } from "@millrace/domain/identity/organisation.ts";
import { powersOf as composed } from "@millrace/domain/identity/powers.ts";
import { type Role, role } from "@millrace/domain/identity/role.ts";
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
  const { expiresAt, revokedAt } = state;
  const foreign = state.organisation !== actedIn && !state.installation;
  if (state.createdAt === "" || revokedAt !== null || foreign || home.archivedAt != null) return NOTHING;
  if (expiresAt !== null && Date.parse(expiresAt) <= nowMs) return NOTHING;
  const person = state.member === null ? undefined : (await aggregates.load(member, state.member)).state;
  if (person !== undefined && (person.createdAt === "" || person.removedAt !== null)) return NOTHING;
  const roles = new Map<string, Role>();
  for (const { id } of [...state.bindings, ...(person?.bindings ?? [])]) {
    if (id !== undefined && !roles.has(id)) roles.set(id, (await aggregates.load(role, id)).state);
  }
  return composed(state, person, (id) => roles.get(id));
}
