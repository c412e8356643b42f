/**
 * Permissions are `<context>:<verb>`, declared with the endpoint and granted to tokens.
 * A grant is a permission, `<context>:*` for all of a context, or `*` for all; with `@<id>` it holds for that one
 * resource (and what belongs to it) alone.
 */
import * as Context from "effect/Context";
import * as Schema from "effect/Schema";

/** Every permission there is, with what it allows. An endpoint may declare only one of these. */
export const PERMISSIONS = {
  "identity:read": "See the organisation and its settings",
  "identity:manage": "Rename the organisation and change its settings",
  "identity:install": "Create and archive organisations (the installation's owner)",
  "identity:tokens": "Create, list and revoke tokens",
  "identity:members": "Invite people, remove members, give and take roles",
  "identity:roles": "Define, change and delete roles of one's own making",
  "identity:self": "Change one's own profile, and make tokens for oneself: every member may",
  "identity:secrets": "Store, replace and erase secrets",
  "identity:audit": "Read who did what",
  "work:read": "See work items and their types",
  "work:edit": "Open and change work items",
  "work:comment": "Comment on work items",
  "work:waive": "Waive a gate, with a reason that stays",
  "work:delete": "Delete work items",
  "work:types": "Change the types of work: states, transitions, checklists, gates",
  "applications:read": "See applications, their deployments and nodes",
  "applications:edit": "Create applications and change them",
  "applications:deploy": "Deploy applications, roll back, cancel deployments",
  "applications:operate": "Start, stop, restart and scale applications",
  "applications:logs": "Read what applications and builds have written",
  "applications:delete": "Delete applications",
  "integrations:read": "See webhooks, channels and subscribers, and what was sent to them",
  "integrations:edit":
    "Create, change and delete webhooks, channels and subscribers, pause, resume, test and replay them",
  "automation:read": "See schedules and rules, and what they did",
  "automation:edit": "Create, change, pause and run schedules and rules",
  "automation:delete": "Delete schedules and rules",
  "devices:read": "See devices, their tasks, profiles and groups",
  "devices:edit": "Take devices into the fleet, name, tag and group them",
  "devices:control": "Switch devices, reboot them, have them read",
  "devices:configure": "Say what is wanted of devices, write it to them, set their passwords",
  "devices:firmware": "Update the firmware of devices",
  "devices:delete": "Take devices out of the fleet",
  "publishing:read": "See repositories and builds",
  "publishing:edit": "Create repositories and change them",
  "publishing:upload": "Begin builds, upload to them, commit, cancel and purge them",
  "publishing:publish": "Publish builds",
  "publishing:review": "Decide whether what builds change may be published",
  "publishing:keys": "Change the keys that repositories sign with",
  "publishing:operate": "Validate and prune repositories",
  "publishing:delete": "Delete repositories",
  "publishing:download": "Install from private repositories",
  "system:read": "See projections and dead letters",
  "system:operate": "Rebuild projections, retry and drop dead letters",
} as const;

export type Permission = keyof typeof PERMISSIONS;

/** The permission an endpoint needs, as an annotation on it; `"public"` and `"authenticated"` are the two exceptions. */
export class Requires extends Context.Service<Requires, Permission | "public" | "authenticated">()(
  "millrace/contracts/Requires",
) {}

/**
 * On an endpoint that changes something, names no single resource in its path, and yet answers who holds the permission for some resources
 * alone: its handler looks at which. Endpoints that only read need not say so.
 */
export class Partly extends Context.Service<Partly, boolean>()("millrace/contracts/Partly") {}

/** On an endpoint of which one request costs as much as many others: it has a limit of its own. */
export class Expensive extends Context.Service<Expensive, boolean>()("millrace/contracts/Expensive") {}

/** A grant as clients write it. */
export const Grant = Schema.String.check(
  Schema.isPattern(/^(\*|[a-z]{1,32}:(\*|[a-z]{1,32}))(@[a-z]{2,8}_[0-9a-z]{26})?$/u),
).annotate({
  title: "Grant",
  description: "`*`, `<context>:*` or `<context>:<verb>`; with `@<id>` for one resource alone",
  examples: ["work:*"],
});

/**
 * Whether grants allow a permission.
 * @param resources ids of the resource asked about and of its parents; a grant for any of them suffices
 */
export function allows(grants: ReadonlyArray<string>, permission: string, resources: ReadonlyArray<string>): boolean {
  const context = permission.slice(0, permission.indexOf(":"));
  return grants.some((grant) => {
    const [what, resource] = grant.split("@") as [string, string | undefined];
    if (what !== "*" && what !== permission && what !== `${context}:*`) return false;
    return resource === undefined || resources.includes(resource);
  });
}
