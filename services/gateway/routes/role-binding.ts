/** What is meant by a role and a place. */
import { CONTEXT_NAMES } from "@millrace/contracts/access.ts";
import type { Binding } from "@millrace/contracts/identity/roles.ts";
import { kindOfId } from "@millrace/domain/contexts.ts";
import type { Asked } from "../asked.ts";
import { invalidInput } from "../command.ts";
import { fail } from "../failures.ts";
import type { Gateway } from "../gateway.ts";

export interface Give {
  readonly role: string;
  readonly at?: string;
}

/** @throws Failed (invalid-input) for what is not there */
export async function bindingOf(gateway: Gateway, asked: Asked, { role, at: place }: Give): Promise<Binding> {
  const organisationId = asked.organisation!.id;
  const at = place === organisationId ? undefined : place;
  const named = gateway.identity.roleNamed(organisationId, role);
  if (named === undefined) return fail(invalidInput("/body/role", "is no role here", "`mill roles list` shows them."));
  const { id, name } = named;
  const binding = { role: name, ...(id === undefined ? {} : { id }), ...(at === undefined ? {} : { at }) };
  if (at === undefined) return binding;
  if (!at.includes("_")) {
    if (CONTEXT_NAMES.includes(at)) return binding;
    return fail(
      invalidInput("/body/at", "is no context", `One of ${CONTEXT_NAMES.join(", ")}, or the id of a resource.`),
    );
  }
  const kind = kindOfId(at);
  const loaded = kind === undefined ? undefined : await gateway.log.aggregates.load(kind, at);
  if (loaded?.organisation === organisationId && kind!.exists(loaded.state)) return binding;
  return fail(invalidInput("/body/at", "names nothing that is here", "Give the id of a resource, or a context."));
}
