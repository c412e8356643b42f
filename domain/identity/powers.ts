/** What somebody may do, from what identity knows of them at a moment. Who keeps all of it in memory and who loads it ask the same here. */
import { grantsOfBinding, type Held, type Layer, Powers } from "@millrace/contracts/access.ts";
import { type Binding, builtInRole } from "@millrace/contracts/identity/roles.ts";
import type { Member } from "./member.ts";
import type { Role } from "./role.ts";
import type { Token } from "./token.ts";

/** A role of an organisation's own by its id; undefined: there is none. */
export type RoleOf = (id: string) => Role | undefined;

/** What a binding gives; nothing when its role was deleted. */
export function grantsOf({ role, id, at }: Binding, roleOf: RoleOf): string[] {
  const own = id === undefined ? builtInRole(role) : roleOf(id);
  const gone = own === undefined || ("deletedAt" in own && own.deletedAt !== null);
  return gone ? [] : grantsOfBinding(own.grants, at);
}

const heldBy = (bindings: ReadonlyArray<Binding>, roleOf: RoleOf): Held[] =>
  bindings.flatMap((binding) => {
    const { role, at } = binding;
    const via = { kind: "binding", role, ...(at === undefined ? {} : { at }) } as const;
    return grantsOf(binding, roleOf).map((grant) => ({ grant, via }));
  });

/** What a person may do: for themselves by being a member, all else by roles. */
export function layerOfMember({ id, name, bindings }: Member, roleOf: RoleOf): Layer {
  const self: Held = { grant: "identity:self", via: { kind: "grant" } };
  return { of: { kind: "member", id, name }, held: [self, ...heldBy(bindings, roleOf)] };
}

/** @param person whose token it is; undefined: nobody's, or a member's who is no more, of whom nothing is left */
export function powersOf(token: Token, person: Member | undefined, roleOf: RoleOf): Powers {
  if (token.member !== null && person === undefined) return new Powers([]);
  const { id, name, grants, bindings } = token;
  const own = grants.map((grant) => ({ grant, via: { kind: "grant" } as const }));
  const ofToken: Layer = { of: { kind: "token", id, name }, held: [...own, ...heldBy(bindings, roleOf)] };
  return new Powers(person === undefined ? [ofToken] : [layerOfMember(person, roleOf), ofToken]);
}
