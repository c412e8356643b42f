/** People and what they may do: members, invitations, roles, one's own profile, and why. */
import { facts } from "../output.ts";
import { command, SEEN } from "../table.ts";
import { listing, showing } from "./entity.ts";

const actions = () => import("../actions/members.ts");

const AT = {
  at: {
    type: "string",
    value: "PLACE",
    summary: "Only for a context (`applications`) or one resource (its id); else for the whole organisation",
  },
} as const;
const role = { summary: "Name of the role", names: { collection: "roles" } } as const;

interface Bound {
  readonly role: string;
  readonly at?: string;
}
const rolesText = (roles: ReadonlyArray<Bound> = []): string[] =>
  roles.map(({ role: name, at }) => (at === undefined ? name : `${name}@${at}`));

const memberCommands = [
  listing({
    path: "members list",
    operation: "listMembers",
    collection: "members",
    shown: [
      { title: "name", value: (row) => row.spec.name },
      { title: "title", value: (row) => row.spec.title },
      { title: "roles", value: (row) => rolesText(row.spec.roles) },
      { title: "e-mail", value: (row) => row.spec.email },
      { title: "id", value: (row) => row.id },
    ],
    nameOf: (row) => row.spec.name,
    nothing: "There is no member; `mill invitations create` invites one",
    examples: [{ line: "mill members list --role operator", says: "Who has a role, anywhere" }],
  }),
  showing({
    path: "members show",
    operation: "getMember",
    collection: "members",
    argument: "member",
    people: async ({ id, spec, generation, createdAt }) =>
      facts([
        ["name", spec.name],
        ["title", spec.title],
        ["e-mail", spec.email],
        ["roles", rolesText(spec.roles)],
        ["id", id],
        ["generation", generation],
        ["since", createdAt],
      ]),
    examples: [{ line: "mill members show ada", says: "With the roles, and where they hold" }],
  }),
  command({
    path: "members give",
    summary: "Give a role to a member; it holds within a second",
    description: "Nobody gives what they do not hold themselves.",
    arguments: { member: { summary: "Name or id of the member", names: { collection: "members" } }, role },
    flags: { ...AT, ...SEEN },
    examples: [{ line: "mill members give ada operator --at applications", says: "For everything in one context" }],
    impact: "write",
    run: async (call) => (await actions()).give(call),
  }),
  command({
    path: "members take",
    summary: "Take a role from a member; it holds within a second",
    arguments: { member: { summary: "Name or id of the member", names: { collection: "members" } }, role },
    flags: { ...AT, ...SEEN },
    examples: [{ line: "mill members take ada operator --at applications", says: "Exactly as it was given" }],
    impact: "write",
    run: async (call) => (await actions()).take(call),
  }),
  command({
    path: "members remove",
    aliases: ["rm"],
    summary: "Remove a member; their tokens are refused within a second",
    arguments: { member: { summary: "Name or id of the member", names: { collection: "members" } } },
    examples: [{ line: "mill members remove ada --yes", says: "Without being asked" }],
    impact: "write",
    run: async (call) => (await actions()).remove(call),
  }),
];

const invitationCommands = [
  listing({
    path: "invitations list",
    operation: "listInvitations",
    collection: "invitations",
    shown: [
      { title: "name", value: (row) => row.spec.name },
      { title: "role", value: (row) => rolesText([row.spec.role]) },
      { title: "state", value: (row) => row.status.state },
      { title: "expires", value: (row) => row.spec.expiresAt },
      { title: "id", value: (row) => row.id },
    ],
    nameOf: (row) => row.id,
    nothing: "There is no invitation",
    examples: [{ line: "mill invitations list --state open", says: "Those that nobody has accepted" }],
  }),
  command({
    path: "invitations create",
    summary: "Invite somebody; the secret is shown this once",
    description: "Give the secret to whom it is for. It makes them a member, once. `-o name` prints it alone.",
    arguments: { name: { summary: "The name that the member will have" } },
    flags: {
      role: { type: "string", value: "ROLE", names: { collection: "roles" }, summary: "The role (default: viewer)" },
      ...AT,
      title: { type: "string", value: "TEXT", summary: "Shown to people (default: the name)" },
      email: { type: "string", value: "ADDRESS", summary: "E-mail; nothing is sent" },
      expires: { type: "string", value: "WHEN", summary: "A time (RFC 3339), or days from now: 3d (default: 7d)" },
    },
    examples: [{ line: "mill invitations create ada --role developer", says: "Good for a week" }],
    impact: "write",
    run: async (call) => (await actions()).invite(call),
  }),
  command({
    path: "invitations revoke",
    aliases: ["rm"],
    summary: "Revoke an invitation that was not accepted",
    arguments: { invitation: { summary: "Id of the invitation", names: { collection: "invitations" } } },
    examples: [{ line: "mill invitations revoke inv_01kajzq4v0e8r9t2m5x7c3d6fg", says: "Its secret lets nobody in" }],
    impact: "write",
    run: async (call) => (await actions()).revoke(call),
  }),
  command({
    path: "invitations accept",
    summary: "Accept an invitation: become a member, and keep the token for a context",
    description:
      "The secret is asked for, or read with --secret-stdin. Needs --url, or a context that has one. With `-o name` the token is printed and not kept.",
    flags: {
      "secret-stdin": { type: "boolean", summary: "Read the secret from standard input" },
      name: { type: "string", value: "NAME", summary: "Another name than the invitation's" },
      title: { type: "string", value: "TEXT", summary: "Shown to people" },
    },
    examples: [
      { line: "mill invitations accept --url https://mill.example.org --context office", says: "Asks for the secret" },
    ],
    impact: "write",
    run: async (call) => (await actions()).accept(call),
  }),
];

const GRANT = {
  grant: { type: "strings", short: "g", value: "GRANT", summary: "What it may do: applications:deploy, work:*, *" },
} as const;

const roleCommands = [
  listing({
    path: "roles list",
    operation: "listRoles",
    shown: [
      { title: "name", value: (row) => row.spec.name },
      { title: "title", value: (row) => row.spec.title },
      { title: "grants", value: (row) => (row.spec.grants.length > 4 ? `${row.spec.grants.length}` : row.spec.grants) },
      { title: "comes with the product", value: (row) => (row.status.builtIn ? "yes" : "") },
    ],
    nameOf: (row) => row.spec.name,
    nothing: "There is no role",
    examples: [{ line: "mill roles list", says: "Those that come with the product, and your own" }],
  }),
  showing({
    path: "roles show",
    operation: "getRole",
    collection: "roles",
    argument: "role",
    people: async ({ spec, status }) =>
      facts([
        ["name", spec.name],
        ["title", spec.title],
        ["description", spec.description],
        ["grants", spec.grants],
        ["comes with the product", status.builtIn ? "yes" : undefined],
      ]),
    examples: [{ line: "mill roles show operator", says: "Every grant of it" }],
  }),
  command({
    path: "roles define",
    summary: "Define a role",
    arguments: { name: { summary: "Unique name; it does not change" } },
    flags: {
      ...GRANT,
      title: { type: "string", value: "TEXT", summary: "Shown to people" },
      description: { type: "string", value: "TEXT", summary: "What it is for" },
    },
    examples: [{ line: "mill roles define deployer -g applications:read -g applications:deploy", says: "Two grants" }],
    impact: "write",
    run: async (call) => (await actions()).defineRole(call),
  }),
  command({
    path: "roles change",
    summary: "Change a role of your own; it holds at once for all who have it",
    arguments: { role },
    flags: {
      ...GRANT,
      title: { type: "string", value: "TEXT", summary: "Shown to people" },
      description: { type: "string", value: "TEXT", summary: "What it is for" },
      ...SEEN,
    },
    examples: [{ line: "mill roles change deployer -g applications:deploy", says: "All of its grants, anew" }],
    impact: "write",
    run: async (call) => (await actions()).changeRole(call),
  }),
  command({
    path: "roles delete",
    aliases: ["rm"],
    summary: "Delete a role of your own: who has it can do nothing by it any more",
    arguments: { role },
    examples: [{ line: "mill roles delete deployer --yes", says: "Without being asked" }],
    impact: "write",
    run: async (call) => (await actions()).deleteRole(call),
  }),
];

const ownCommands = [
  command({
    path: "tokens give",
    summary: "Give a role to a token that is no person's",
    arguments: { token: { summary: "Id or name of the token", names: { collection: "tokens" } }, role },
    flags: { ...AT, ...SEEN },
    examples: [{ line: "mill tokens give ci developer --at applications", says: "Beside its own grants" }],
    impact: "write",
    run: async (call) => (await actions()).giveToToken(call),
  }),
  command({
    path: "tokens take",
    summary: "Take a role from a token",
    arguments: { token: { summary: "Id or name of the token", names: { collection: "tokens" } }, role },
    flags: { ...AT, ...SEEN },
    examples: [{ line: "mill tokens take ci developer --at applications", says: "Exactly as it was given" }],
    impact: "write",
    run: async (call) => (await actions()).takeFromToken(call),
  }),
  command({
    path: "profile show",
    summary: "Show oneself, as a member",
    examples: [{ line: "mill profile show", says: "Name, e-mail, settings, roles" }],
    impact: "read",
    run: async (call) => (await actions()).showProfile(call),
  }),
  command({
    path: "profile change",
    summary: "Change one's own title, e-mail, avatar, settings",
    flags: {
      title: { type: "string", value: "TEXT", summary: "Shown to people" },
      email: { type: "string", value: "ADDRESS", summary: "E-mail; an empty one takes it off" },
      avatar: {
        type: "string",
        value: "REFERENCE",
        summary: "An https address or sha256:…; an empty one takes it off",
      },
      "time-zone": { type: "string", value: "ZONE", summary: "IANA time zone, e.g. Europe/Berlin" },
      language: { type: "string", value: "TAG", summary: "Language tag, e.g. de or en-GB" },
      theme: { type: "string", choices: ["system", "light", "dark"], summary: "How the console looks" },
    },
    examples: [{ line: 'mill profile change --title "Ada L." --time-zone Europe/London', says: "The rest stays" }],
    impact: "write",
    run: async (call) => (await actions()).changeProfile(call),
  }),
  command({
    path: "profile token",
    summary: "Create a token for oneself; its secret is shown this once",
    description: "It does what you may and its grants allow, whichever is less. `-o name` prints the secret alone.",
    arguments: { name: { summary: "Unique name" } },
    flags: {
      ...GRANT,
      expires: { type: "string", value: "WHEN", summary: "A time (RFC 3339), or days from now: 30d" },
    },
    examples: [{ line: "mill profile token laptop --grant work:* --expires 90d", says: "For one machine" }],
    impact: "write",
    run: async (call) => (await actions()).ownToken(call),
  }),
  command({
    path: "why",
    summary: "Tell why somebody may do something, or may not, and what is missing",
    description: "Ends with code 4 when it is not allowed. About others it takes `identity:members`.",
    arguments: { permission: { summary: "What is to be done, e.g. applications:deploy" } },
    flags: {
      subject: {
        type: "string",
        value: "WHO",
        names: { collection: "members" },
        summary: "A member's name, or the id of a member or token (default: yourself)",
      },
      resource: { type: "string", value: "ID", summary: "Id of a resource (default: the organisation)" },
    },
    examples: [{ line: "mill why applications:deploy --subject ada", says: "Every role and grant that gives it" }],
    impact: "read",
    run: async (call) => (await actions()).why(call),
  }),
];

export const peopleCommands = [...memberCommands, ...invitationCommands, ...roleCommands, ...ownCommands];
