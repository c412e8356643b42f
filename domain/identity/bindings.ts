/** Roles that a member or a token has: what giving and taking them takes. */
import { beyondOwn } from "@millrace/contracts/access.ts";
import { ACCESS_LIMITS, type Binding, sameBinding } from "@millrace/contracts/identity/roles.ts";
import { type Refusal, rule } from "../decider.ts";

/** The grants of whoever acts, by layers, as they are at this moment. */
export type Giver = ReadonlyArray<ReadonlyArray<string>>;

export interface Giving {
  readonly binding: Binding;
  /** What the role grants there, by its definition of now. */
  readonly grants: ReadonlyArray<string>;
  readonly giver: Giver;
}

/** @returns why not; undefined when it may be given, or taken */
export function beyond(giver: Giver, grants: ReadonlyArray<string>): Refusal | undefined {
  const more = beyondOwn(giver, grants);
  if (more.length === 0) return undefined;
  const shown = more.length > 5 ? `${more.slice(0, 5).join(", ")} and ${more.length - 5} more` : more.join(", ");
  return rule(
    "grant-beyond-own",
    `You do not hold ${shown} yourself.`,
    "Give and take only what you may do yourself, or ask somebody who holds it.",
  );
}

export const TOO_MANY = rule(
  "too-many-roles",
  `Nobody can have more than ${ACCESS_LIMITS.bindings} roles.`,
  "Take some, or define a role that holds them together.",
);

export const hasBinding = (bindings: ReadonlyArray<Binding>, binding: Binding): boolean =>
  bindings.some((one) => sameBinding(one, binding));

export const without = (bindings: ReadonlyArray<Binding>, binding: Binding): ReadonlyArray<Binding> =>
  bindings.filter((one) => !sameBinding(one, binding));

/** As one would say it. */
export const bindingText = ({ role, at }: Binding): string =>
  at === undefined ? `the role ${role}` : `the role ${role} for ${at}`;
