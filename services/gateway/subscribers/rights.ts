/**
 * What a subscriber may read at this moment: what its filter says, as far as the token of its maker, and the member whose that is, may read it
 * now. No snapshot of grants: what was taken from them is gone for what they made, too.
 */
import { createHash } from "node:crypto";
import type { Powers } from "@millrace/contracts/access.ts";
import { CONTEXTS, kindOfId } from "@millrace/domain/contexts.ts";
import type { Organisation } from "@millrace/domain/identity/organisation.ts";
import type { SubscriberState } from "@millrace/domain/integrations/subscriber.ts";
import type { IdentityDirectory } from "../identity.ts";

export interface Rights {
  readonly organisation: Organisation;
  readonly powers: Powers;
  /** Contexts that something can be read of. */
  readonly contexts: ReadonlyArray<string>;
  /** Subjects that may be listened to. What only *belongs to* something readable has none: its id is not known beforehand. It is read. */
  readonly live: ReadonlyArray<string>;
  /** Milliseconds since 1970 until which, at the most, all of this holds; undefined: as long as nothing changes. */
  readonly until: number | undefined;
}

/** Subjects of one context beyond which nothing of it is heard live: a token's rights may name very many resources. */
const SUBJECTS_MOST = 1_024;

type Spec = NonNullable<SubscriberState["spec"]>;

/** @param nowMs milliseconds since 1970 @returns undefined: nothing, or it is over */
export function rightsOf(
  identity: Pick<IdentityDirectory, "token" | "organisation" | "powersOf">,
  { exists, spec, maker, organisation: id }: SubscriberState,
  nowMs: number,
): Rights | undefined {
  const token = identity.token(maker);
  const organisation = identity.organisation(id);
  if (!exists || spec === null || token === undefined || organisation === undefined) return undefined;
  if (token.revokedAt !== null || (token.organisation !== id && !token.installation)) return undefined;
  const ends = [spec.expiresAt, token.expiresAt].flatMap((end) => (end === null ? [] : [Date.parse(end)]));
  const until = ends.length === 0 ? undefined : Math.min(...ends);
  if (until !== undefined && until <= nowMs) return undefined;
  const powers = identity.powersOf(token);
  const contexts: string[] = [];
  const live: string[] = [];
  for (const context of spec.events.context ?? Object.keys(CONTEXTS)) {
    const reach = powers.reach(`${context}:read`, id);
    if (reach === undefined) continue;
    contexts.push(context);
    const [first] = reach;
    const wanted = spec.events.id ?? (first === undefined ? undefined : [...first]);
    const ids = wanted?.filter((one) => kindOfId(one)?.context === context && reach.every((held) => held.has(one)));
    const subjects = subjectsOf(`feed.${id}.${context}`, spec, ids);
    if (subjects.length <= SUBJECTS_MOST) live.push(...subjects);
  }
  return contexts.length === 0 ? undefined : { organisation, powers, contexts, live, until };
}

function subjectsOf(under: string, { events }: Spec, ids: ReadonlyArray<string> | undefined): string[] {
  const { kind: kinds = ["*"], type: types = [">"] } = events;
  return kinds.flatMap((kind) =>
    (ids ?? ["*"]).flatMap((id) => types.map((type) => `${under}.${kind}.${id}.${type}`.replace(/(\.\*)+\.>$/, ".>"))),
  );
}

/** Short, and another for every other set of subjects and password: a connection bears it, so that any gateway sees whether it still may. */
export const digestOf = (live: ReadonlyArray<string>, hash: string): string =>
  createHash("sha256")
    .update([hash, ...live].join("\n"))
    .digest("hex")
    .slice(0, 20);
