/** Roles: those that come with the product, and an organisation's own. */
import { within } from "@millrace/contracts/access.ts";
import { ACCESS_LIMITS, BUILT_IN_ROLES, builtInRole } from "@millrace/contracts/identity/roles.ts";
import { Refused } from "@millrace/contracts/problems.ts";
import { representBuiltInRole, role } from "@millrace/domain/identity/role.ts";
import { seenOf } from "../answers.ts";
import { reachOf } from "../asked.ts";
import { commands, type Handle, handle, json, type Request } from "../command.ts";
import { fail } from "../failures.ts";
import type { Gateway } from "../gateway.ts";
import { history } from "../history.ts";
import { past } from "../past.ts";

const refuse = (rule: string, reason: string, fix: string): never =>
  fail(new Refused({ rule, reason, detail: reason, fix }));

const referenceOf = ({ params }: Request): string => (params as { id: string }).id;

/** Refuses to change a role that comes with the product. */
const ownOnly =
  (gateway: Gateway, own: Handle<Request>): Handle<Request> =>
  (request) => {
    const name = referenceOf(request);
    if (builtInRole(name) === undefined) return own(request);
    const reason = `"${name}" comes with the product, and does not change.`;
    return handle<Request>(gateway, async () => refuse("built-in-role", reason, "Define a role of your own."))(request);
  };

interface Define {
  readonly name: string;
  readonly title?: string;
  readonly description?: string;
  readonly grants: ReadonlyArray<string>;
}

export function roleHandlers(gateway: Gateway) {
  const roles = commands(gateway, role);
  const before = past(gateway, role);
  const getOwn: Handle<Request> = before.get();
  const showBuiltIn = handle<Request>(gateway, async (request, asked) => {
    const shown = representBuiltInRole(builtInRole(referenceOf(request))!, asked.organisation!);
    return json(shown, { headers: { etag: '"0"' } });
  });
  return {
    list: handle<Request>(gateway, async (_, asked) => {
      const organisation = asked.organisation!;
      const reach = reachOf(asked);
      const builtIn = reach.length > 0 ? [] : BUILT_IN_ROLES.map((one) => representBuiltInRole(one, organisation));
      const own = gateway.identity.rolesOf(organisation.id).filter(({ id }) => within(reach, [id]));
      return json({ items: [...builtIn, ...own.map((one) => role.represent(one))] });
    }),
    define: roles.create<Request>(({ payload }, asked) => {
      if (gateway.identity.rolesOf(asked.organisation!.id).length >= ACCESS_LIMITS.roles) {
        refuse("too-many-roles", `An organisation has ${ACCESS_LIMITS.roles} roles at the most.`, "Delete one.");
      }
      const { title, description = "", ...rest } = payload as Define;
      return { do: "define", ...rest, title: title ?? rest.name, description, giver: asked.powers!.grants };
    }),
    get: ((request) =>
      builtInRole(referenceOf(request)) === undefined ? getOwn(request) : showBuiltIn(request)) as Handle<Request>,
    change: ownOnly(
      gateway,
      roles.change<Request>(({ payload }, seen, asked) => ({
        do: "change",
        ...(payload as Partial<Define>),
        giver: asked.powers!.grants,
        ...seenOf(seen),
      })),
    ),
    remove: ownOnly(
      gateway,
      roles.remove<Request>((_, seen, asked) => ({ do: "delete", giver: asked.powers!.grants, ...seenOf(seen) })),
    ),
    history: history(gateway, role),
    diff: before.diff(),
  };
}
