/** Which gateway, and who may do what: contexts, login, organisations, tokens, secrets. */
import { facts } from "../output.ts";
import { command, SEEN } from "../table.ts";
import { listing, showing } from "./entity.ts";

const contexts = () => import("../actions/context.ts");
const identity = () => import("../actions/identity.ts");

const contextCommands = [
  command({
    path: "context list",
    aliases: ["ls"],
    summary: "List the contexts; the selected one is marked",
    examples: [{ line: "mill context list", says: "Where mill can talk to" }],
    impact: "read",
    run: async (call) => (await contexts()).list(call),
  }),
  command({
    path: "context add",
    summary: "Add or replace a context: a name for a gateway",
    arguments: { name: { summary: "Name of the context" } },
    flags: { select: { type: "boolean", summary: "Select it at once" } },
    examples: [
      { line: "mill context add office --url https://mill.example.org --org home", says: "A gateway elsewhere" },
    ],
    impact: "write",
    run: async (call) => (await contexts()).add(call),
  }),
  command({
    path: "context select",
    summary: "Use this context where none is named",
    arguments: { name: { summary: "Name of the context", names: { from: "contexts" } } },
    examples: [{ line: "mill context select office", says: "From now on talk to the office" }],
    impact: "write",
    run: async (call) => (await contexts()).select(call),
  }),
  command({
    path: "context remove",
    aliases: ["rm"],
    summary: "Forget a context and its token",
    arguments: { name: { summary: "Name of the context", names: { from: "contexts" } } },
    examples: [{ line: "mill context remove office", says: "Nothing changes at the gateway" }],
    impact: "write",
    run: async (call) => (await contexts()).remove(call),
  }),
  command({
    path: "login",
    summary: "Keep a token for a context, in the system's keyring where there is one",
    description:
      "The token is asked for, or read with --token-stdin; never given as a flag, where the process list shows it. It is tried " +
      "before it is kept. Without a keyring (secret-tool on Linux, security on macOS) it is kept in a file of its own, 0600. " +
      "MILLRACE_TOKEN in the environment goes before it. An installation on this machine needs no login.",
    flags: { "token-stdin": { type: "boolean", summary: "Read the token from standard input" } },
    examples: [
      { line: "mill login --context office", says: "Asks for the token" },
      { line: "mill login --context office --token-stdin < token.txt", says: "In a script" },
    ],
    impact: "write",
    run: async (call) => (await contexts()).login(call),
  }),
  command({
    path: "logout",
    summary: "Forget the token of a context",
    examples: [{ line: "mill logout --context office", says: "The token stays valid; `mill tokens revoke` ends it" }],
    impact: "write",
    run: async (call) => (await contexts()).logout(call),
  }),
  command({
    path: "whoami",
    summary: "Show who the token is, and what it may do",
    examples: [{ line: "mill whoami", says: "Also shows when the token expires" }],
    impact: "read",
    run: async (call) => (await identity()).whoami(call),
  }),
];

const organisationName = {
  organisation: { summary: "Id or name of the organisation", names: { from: "organisations" } },
} as const;

const organisationCommands = [
  listing({
    path: "orgs list",
    operation: "listOrganisations",
    collection: "organisations",
    shown: [
      { title: "name", value: (row) => row.spec.name },
      { title: "title", value: (row) => row.spec.title },
      { title: "id", value: (row) => row.id },
      { title: "archived", value: (row) => row.status.archivedAt },
    ],
    nameOf: (row) => row.spec.name,
    nothing: "There is no organisation that this token can see",
    examples: [{ line: "mill orgs list", says: "All that the token can see" }],
  }),
  showing({
    path: "orgs show",
    operation: "getOrganisation",
    collection: "organisations",
    argument: "organisation",
    people: async (organisation) =>
      facts([
        ["name", organisation.spec.name],
        ["title", organisation.spec.title],
        ["id", organisation.id],
        ["time zone", organisation.spec.settings.timeZone],
        ["generation", organisation.generation],
        ["created", organisation.createdAt],
        ["archived", organisation.status.archivedAt],
      ]),
    examples: [{ line: "mill orgs show home --at v1", says: "As it was when it was made" }],
  }),
  command({
    path: "orgs create",
    summary: "Create an organisation",
    arguments: { name: { summary: "Unique name: lower-case letters, digits, hyphens" } },
    flags: { title: { type: "string", value: "TEXT", summary: "Shown to people (default: the name)" } },
    examples: [{ line: 'mill orgs create lab --title "The laboratory"', says: "Needs the installation's owner" }],
    impact: "write",
    run: async (call) => (await identity()).createOrganisation(call),
  }),
  command({
    path: "orgs rename",
    summary: "Give an organisation another name or title",
    arguments: { ...organisationName, name: { summary: "The new unique name" } },
    flags: { title: { type: "string", value: "TEXT", summary: "The new title" }, ...SEEN },
    examples: [{ line: 'mill orgs rename lab workshop --title "The workshop"', says: "Its id stays" }],
    impact: "write",
    run: async (call) => (await identity()).renameOrganisation(call),
  }),
  command({
    path: "orgs archive",
    summary: "Archive an organisation: it can be read, and changed no more",
    arguments: organisationName,
    flags: SEEN,
    examples: [{ line: "mill orgs archive lab --yes", says: "Without being asked" }],
    impact: "write",
    run: async (call) => (await identity()).archiveOrganisation(call),
  }),
];

const tokenCommands = [
  listing({
    path: "tokens list",
    operation: "listTokens",
    collection: "tokens",
    shown: [
      { title: "name", value: (row) => row.spec.name },
      { title: "ends in", value: (row) => row.status.last8 },
      { title: "grants", value: (row) => row.spec.grants },
      { title: "expires", value: (row) => row.spec.expiresAt },
      { title: "uses", value: (row) => row.status.uses },
      { title: "last used", value: (row) => row.status.lastUsedAt },
      { title: "id", value: (row) => row.id },
    ],
    nameOf: (row) => row.spec.name,
    nothing: "There is no token",
    examples: [{ line: "mill tokens list", says: "Names, grants and use; never the secrets" }],
  }),
  command({
    path: "tokens create",
    summary: "Create a token; its secret is shown this once",
    description: "A token may be granted no more than one's own allows. `-o name` prints the secret alone.",
    arguments: { name: { summary: "Unique name" } },
    flags: {
      grant: {
        type: "strings",
        short: "g",
        value: "GRANT",
        summary: "What it may do: work:*, work:read, *, work:edit@<id>",
      },
      expires: { type: "string", value: "WHEN", summary: "A time (RFC 3339), or days from now: 30d" },
    },
    examples: [
      { line: "mill tokens create ci --grant work:read --grant work:comment --expires 90d", says: "For a script" },
      { line: "mill tokens create ci --grant 'work:*' -o name > ci.token", says: "The secret alone, into a file" },
    ],
    impact: "write",
    run: async (call) => (await identity()).createToken(call),
  }),
  command({
    path: "tokens revoke",
    aliases: ["rm"],
    summary: "Revoke a token; it is refused within a second",
    arguments: { token: { summary: "Id or name of the token", names: { collection: "tokens" } } },
    examples: [{ line: "mill tokens revoke ci --yes", says: "Without being asked" }],
    impact: "write",
    run: async (call) => (await identity()).revokeToken(call),
  }),
];

const secretCommands = [
  listing({
    path: "secrets list",
    operation: "listSecrets",
    collection: "secrets",
    shown: [
      { title: "name", value: (row) => row.spec.name },
      { title: "generation", value: (row) => row.generation },
      { title: "changed", value: (row) => row.updatedAt },
      { title: "id", value: (row) => row.id },
    ],
    nameOf: (row) => row.spec.name,
    nothing: "There is no secret",
    examples: [{ line: "mill secrets list", says: "Names; the values are never shown" }],
  }),
  command({
    path: "secrets set",
    summary: "Store a secret, or give it another value; the value comes from standard input",
    arguments: { name: { summary: "Unique name", names: { collection: "secrets" } } },
    flags: { stdin: { type: "boolean", summary: "Read the value from standard input, also from a terminal" } },
    examples: [
      { line: "mill secrets set deploy-key < key.pem", says: "From a file" },
      { line: "mill secrets set deploy-key", says: "Asks for it, unseen" },
    ],
    impact: "write",
    run: async (call) => (await identity()).setSecret(call),
  }),
  command({
    path: "secrets erase",
    aliases: ["rm"],
    summary: "Erase a secret: its key is destroyed, nobody can read it again",
    arguments: { secret: { summary: "Id or name of the secret", names: { collection: "secrets" } } },
    examples: [{ line: "mill secrets erase deploy-key --yes", says: "Without being asked" }],
    impact: "write",
    run: async (call) => (await identity()).eraseSecret(call),
  }),
];

export const accessCommands = [...contextCommands, ...organisationCommands, ...tokenCommands, ...secretCommands];
