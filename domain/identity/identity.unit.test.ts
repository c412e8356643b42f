/** The rules of identity, as tables: given these events, when this command, then these events or that refusal. */
import * as assert from "uvu/assert";
import { suite } from "../../tests/harness/suite.ts";
import { CONTEXTS } from "../contexts.ts";
import { type Decider, type DomainEvent, isRefusal } from "../decider.ts";
import { VIEWS } from "../views.ts";
import { type InvitationCommand, type InvitationEvent, invitation } from "./invitation.ts";
import { type MemberCommand, type MemberEvent, member } from "./member.ts";
import { type OrganisationCommand, type OrganisationEvent, organisation } from "./organisation.ts";
import { type RoleCommand, type RoleEvent, role } from "./role.ts";
import { type SecretCommand, type SecretEvent, secret } from "./secret.ts";
import { type TokenCommand, type TokenEvent, token } from "./token.ts";

const test = suite("identity's rules");

const now = "2026-11-21T08:00:00.000Z";
const actor = { kind: "token", id: "tok_1", name: "owner" } as const;
const circumstances = { organisation: "org_1", actor, now };

function given<S, C, E extends DomainEvent>(decider: Decider<S, C, E>, events: ReadonlyArray<E>) {
  const state = events.reduce(
    (before, event) => decider.evolve(before, event, { organisation: "org_1", actor, time: now }),
    decider.initial("id_1"),
  );
  return { state, when: (command: C) => decider.decide(command, state, circumstances) };
}

const settings = { timeZone: "UTC" };
const born: OrganisationEvent = { type: "OrganisationCreated", data: { name: "home", title: "Home", settings } };
const archived: OrganisationEvent = { type: "OrganisationArchived", data: {} };

const organisations: ReadonlyArray<[string, OrganisationEvent[], OrganisationCommand, unknown]> = [
  ["is created, in UTC if nothing is said", [], { type: "CreateOrganisation", name: "home", title: "Home" }, [born]],
  ["is created once", [born], { type: "CreateOrganisation", name: "b", title: "B" }, "conflict"],
  ["is not changed before it is there", [], { type: "ChangeOrganisation", title: "B" }, "not-found"],
  [
    "is renamed",
    [born],
    { type: "ChangeOrganisation", name: "house" },
    [{ type: "OrganisationRenamed", data: { from: "home", name: "house" } }],
  ],
  [
    "changes only what differs",
    [born],
    { type: "ChangeOrganisation", name: "home", title: "Our home", settings },
    [{ type: "OrganisationChanged", data: { title: "Our home" } }],
  ],
  ["stays as it is", [born], { type: "ChangeOrganisation", seen: 1, title: "Home" }, []],
  [
    "is not changed by who saw another generation",
    [born],
    { type: "ChangeOrganisation", seen: 7, title: "B" },
    "precondition",
  ],
  ["is archived", [born], { type: "ArchiveOrganisation" }, [archived]],
  ["is archived once", [born, archived], { type: "ArchiveOrganisation" }, []],
  ["is not changed when archived", [born, archived], { type: "ChangeOrganisation", title: "B" }, "rule"],
];

const HASH = "a".repeat(64);
const create = (over: Partial<Extract<TokenCommand, { type: "CreateToken" }>> = {}): TokenCommand => ({
  type: "CreateToken",
  name: "ci",
  hash: HASH,
  last8: "12345678",
  grants: ["work:read"],
  installation: false,
  granter: [["work:*"]],
  ...over,
});
const made = (over: object = {}): TokenEvent => ({
  type: "TokenCreated",
  data: { name: "ci", hash: HASH, last8: "12345678", grants: ["work:read"], installation: false, ...over },
});
const revoked: TokenEvent = { type: "TokenRevoked", data: {} };
const use: TokenCommand = { type: "RecordTokenUse", count: 3, lastUsedAt: now };

const tokens: ReadonlyArray<[string, TokenEvent[], TokenCommand, unknown]> = [
  ["is created with what its maker holds", [], create(), [made()]],
  [
    "is created with single resources of it",
    [],
    create({ grants: ["work:edit@itm_1"] }),
    [made({ grants: ["work:edit@itm_1"] })],
  ],
  ["never gets more than its maker holds", [], create({ grants: ["work:read", "identity:tokens"] }), "rule"],
  ["never gets everything from who holds something", [], create({ grants: ["*"] }), "rule"],
  ["never gets all from who holds it for one resource", [], create({ granter: [["work:*@itm_1"]] }), "rule"],
  [
    "expires in the future",
    [],
    create({ expiresAt: "2026-11-21T08:00:00.001Z" }),
    [made({ expiresAt: "2026-11-21T08:00:00.001Z" })],
  ],
  ["does not expire in the past", [], create({ expiresAt: now }), "invalid"],
  ["is created once", [made()], create(), "conflict"],
  ["is revoked", [made()], { type: "RevokeToken" }, [revoked]],
  ["is revoked once", [made(), revoked], { type: "RevokeToken" }, "not-found"],
  ["is not revoked by who saw another generation", [made()], { type: "RevokeToken", seen: 2 }, "precondition"],
  ["is counted", [made()], use, [{ type: "TokenUsed", data: { count: 3, lastUsedAt: now } }]],
  [
    "is counted even after its end",
    [made(), revoked],
    use,
    [{ type: "TokenUsed", data: { count: 3, lastUsedAt: now } }],
  ],
  ["is not counted before it is there", [], use, "not-found"],
];

const giving = (over: object = {}): TokenCommand => ({
  type: "GiveTokenRole",
  binding: { role: "viewer" },
  grants: ["work:read"],
  giver: [["work:*"]],
  ...over,
});
const roleGiven: TokenEvent = { type: "TokenRoleGiven", data: { role: "viewer" } };
const tokenRoles: ReadonlyArray<[string, TokenEvent[], TokenCommand, unknown]> = [
  ["gets a role", [made()], giving(), [roleGiven]],
  ["gets it once", [made(), roleGiven], giving(), []],
  ["gets none that the giver does not hold", [made()], giving({ giver: [["work:*"], ["identity:*"]] }), "rule"],
  ["gets none when it is a person's", [made({ member: "usr_1" })], giving(), "rule"],
  ["gets none when it is the installation's", [made({ installation: true })], giving(), "rule"],
  [
    "loses a role",
    [made(), roleGiven],
    giving({ type: "TakeTokenRole" }),
    [{ type: "TokenRoleTaken", data: { role: "viewer" } }],
  ],
  ["loses none that it does not have", [made()], giving({ type: "TakeTokenRole" }), []],
  ["is not given one by who saw another generation", [made(), roleGiven], giving({ seen: 1 }), "precondition"],
];

const joined: MemberEvent = {
  type: "MemberJoined",
  data: { name: "ada", title: "Ada", bindings: [{ role: "owner" }], invitation: "inv_1" },
};
const bind = (over: object = {}): MemberCommand => ({
  do: "bind",
  binding: { role: "viewer", at: "work" },
  grants: ["work:read"],
  giver: [["*"]],
  ...over,
});
const removal = { do: "remove", giver: [["*"]], grants: ["*"], owner: true } as const;
const people: ReadonlyArray<[string, MemberEvent[], MemberCommand, unknown]> = [
  ["joins", [], { do: "join", ...joined.data }, [joined]],
  ["joins once", [joined], { do: "join", ...joined.data }, "conflict"],
  ["gets a role", [joined], bind(), [{ type: "MemberRoleGiven", data: { role: "viewer", at: "work" } }]],
  ["has a role elsewhere beside it", [joined], bind({ binding: { role: "owner" } }), []],
  ["gets none that the giver does not hold", [joined], bind({ giver: [["work:edit"]] }), "rule"],
  [
    "loses one",
    [joined],
    bind({ do: "unbind", binding: { role: "owner" } }),
    [{ type: "MemberRoleTaken", data: { role: "owner" } }],
  ],
  ["loses none to who does not hold it", [joined], bind({ do: "unbind", grants: ["*"], giver: [["work:*"]] }), "rule"],
  ["is removed", [joined], removal, [{ type: "MemberRemoved", data: {} }]],
  ["is not removed by who holds less", [joined], { ...removal, giver: [["identity:*"]] }, "rule"],
  ["is looked at again when it became an owner meanwhile", [joined], { ...removal, owner: false }, "rule"],
  ["is not there once removed", [joined, { type: "MemberRemoved", data: {} }], bind(), "not-found"],
  ["changes what differs", [joined], { do: "profile", title: "Ada" }, []],
];

const invited: InvitationEvent = {
  type: "InvitationMade",
  data: {
    name: "ada",
    title: "Ada",
    role: "viewer",
    hash: HASH,
    last8: "12345678",
    expiresAt: "2026-11-22T08:00:00.000Z",
    by: "usr_1",
  },
};
const { role: _role, ...invitedData } = invited.data;
const inviting = (over: object = {}): InvitationCommand => ({
  do: "invite",
  ...invitedData,
  binding: { role: "viewer" },
  grants: ["work:read"],
  giver: [["*"]],
  ...over,
});
const accepting = (over: object = {}): InvitationCommand => ({
  do: "accept",
  member: "usr_2",
  grants: ["work:read"],
  giver: [["*"]],
  ...over,
});
const accepted: InvitationEvent = { type: "InvitationAccepted", data: { member: "usr_2" } };
const invitations: ReadonlyArray<[string, InvitationEvent[], InvitationCommand, unknown]> = [
  ["is made", [], inviting(), [invited]],
  ["is not made for more than its maker holds", [], inviting({ giver: [["work:edit"]] }), "rule"],
  ["expires in the future", [], inviting({ expiresAt: now }), "invalid"],
  ["expires within a month", [], inviting({ expiresAt: "2027-11-21T08:00:00.000Z" }), "invalid"],
  ["is accepted", [invited], accepting(), [accepted]],
  ["is accepted once", [invited, accepted], accepting(), "not-found"],
  ["is worth nothing when its maker may no more", [invited], accepting({ giver: [] }), "rule"],
  ["is not accepted when revoked", [invited, { type: "InvitationRevoked", data: {} }], accepting(), "not-found"],
  ["is not revoked when accepted", [invited, accepted], { do: "revoke" }, "rule"],
];

const defined: RoleEvent = {
  type: "RoleDefined",
  data: { name: "deployer", title: "Deployer", description: "", grants: ["applications:deploy"] },
};
const all = [["*"]];
const own: ReadonlyArray<[string, RoleEvent[], RoleCommand, unknown]> = [
  ["is defined", [], { do: "define", ...defined.data, giver: all }, [defined]],
  [
    "is not called like one of the product's",
    [],
    { do: "define", ...defined.data, name: "owner", giver: all },
    "conflict",
  ],
  ["holds no more than its maker", [], { do: "define", ...defined.data, giver: [["work:*"]] }, "rule"],
  [
    "gets no more than its changer holds",
    [defined],
    { do: "change", grants: ["applications:deploy", "work:edit"], giver: [["applications:*"]] },
    "rule",
  ],
  [
    "gets what its changer holds",
    [defined],
    { do: "change", grants: ["applications:deploy", "work:edit"], giver: [["work:*"]] },
    [{ type: "RoleChanged", data: { grants: ["applications:deploy", "work:edit"] } }],
  ],
  ["is not deleted by who holds less", [defined], { do: "delete", giver: [["work:*"]] }, "rule"],
  ["is deleted", [defined], { do: "delete", giver: all }, [{ type: "RoleDeleted", data: {} }]],
];

const ownerAdded = (member: string): OrganisationEvent => ({ type: "OwnerAdded", data: { member } });
const owners: ReadonlyArray<[string, OrganisationEvent[], OrganisationCommand, unknown]> = [
  ["gets an owner", [born], { type: "AddOwner", member: "usr_1" }, [ownerAdded("usr_1")]],
  ["gets each once", [born, ownerAdded("usr_1")], { type: "AddOwner", member: "usr_1" }, []],
  ["keeps its last one", [born, ownerAdded("usr_1")], { type: "RemoveOwner", member: "usr_1" }, "rule"],
  [
    "lets one of two go",
    [born, ownerAdded("usr_1"), ownerAdded("usr_2")],
    { type: "RemoveOwner", member: "usr_1" },
    [{ type: "OwnerRemoved", data: { member: "usr_1" } }],
  ],
];

const sealed = { v: 1, key: "k", subject: "sec_1", iv: "AAAA", data: "AAAA" } as const;
const stored: SecretEvent = { type: "SecretStored", data: { name: "key", sealed } };
const erased: SecretEvent = { type: "SecretErased", data: {} };

const secrets: ReadonlyArray<[string, SecretEvent[], SecretCommand, unknown]> = [
  ["is stored", [], { type: "StoreSecret", name: "key", sealed }, [stored]],
  ["is stored once", [stored], { type: "StoreSecret", name: "key", sealed }, "conflict"],
  ["is replaced", [stored], { type: "ReplaceSecret", seen: 1, sealed }, [{ type: "SecretReplaced", data: { sealed } }]],
  [
    "is not replaced by who saw another generation",
    [stored],
    { type: "ReplaceSecret", seen: 2, sealed },
    "precondition",
  ],
  ["is erased", [stored], { type: "EraseSecret" }, [erased]],
  ["is not replaced when erased", [stored, erased], { type: "ReplaceSecret", sealed }, "not-found"],
  ["is not stored again when erased", [stored, erased], { type: "StoreSecret", name: "key", sealed }, "conflict"],
];

function table<S, C, E extends DomainEvent>(
  what: string,
  decider: Decider<S, C, E>,
  rows: ReadonlyArray<[string, E[], C, unknown]>,
): void {
  for (const [name, before, command, expected] of rows) {
    test(`${what} ${name}`, () => {
      const decision = given(decider, before).when(command);
      assert.equal(isRefusal(decision) ? decision.refused : decision.events, expected);
    });
  }
}
table("an organisation", organisation.decider, organisations);
table("a token", token.decider, tokens);
table("a token", token.decider, tokenRoles);
table("a member", member.decider, people);
table("an invitation", invitation.decider, invitations);
table("a role", role.decider, own);
table("an organisation", organisation.decider, owners);
table("a secret", secret.decider, secrets);

test("what kinds say they belong to, their views have columns for: lists find by it what a grant reaches", () => {
  const kinds = Object.values(CONTEXTS).flatMap((context) => Object.values(context.kinds));
  const wrong = VIEWS.filter(({ kind, parents, columns }) => {
    const said = (parents ?? []).every((name) => columns[name] !== undefined);
    return !said || (kind.parents !== undefined) !== (parents ?? []).length > 0;
  });
  assert.equal(
    wrong.map(({ name }) => name),
    [],
  );
  assert.ok(kinds.some(({ parents }) => parents !== undefined));
});

test("a name is claimed, and given up for another", () => {
  const decision = given(organisation.decider, [born]).when({ type: "ChangeOrganisation", name: "house" });
  assert.ok(!isRefusal(decision));
  assert.equal(
    decision.claims!.map(({ value, hold }) => ({ value, hold })),
    [
      { value: "house", hold: true },
      { value: "home", hold: false },
    ],
  );
});

test("names of tokens and secrets are claimed within their organisation, where references look for them", () => {
  for (const [kind, command] of [
    [token, create()],
    [secret, { type: "StoreSecret", name: "ci", sealed }],
  ] as const) {
    const decision = (kind.decider.decide as (...all: unknown[]) => any)(
      command,
      kind.decider.initial("x"),
      circumstances,
    );
    const { what, value } = decision.claims[0];
    assert.equal({ what, value }, kind.nameClaim!("org_1", "ci"));
    assert.is(value, "org_1/ci");
  }
});

test("neither public events nor what is shown hold a hash or a sealed value", () => {
  const shown = [
    token.events.TokenCreated!.toPublic!(made().data),
    token.represent(given(token.decider, [made()]).state),
    secret.events.SecretStored!.toPublic!(stored.data),
    secret.events.SecretReplaced!.toPublic!({ sealed }),
    secret.represent(given(secret.decider, [stored]).state),
  ];
  assert.not.match(JSON.stringify(shown), /aaaa|AAAA|sealed|hash/);
});

test("an erased secret keeps nothing of its value", () => {
  assert.is(given(secret.decider, [stored, erased]).state.sealed, null);
});

test("uses do not change a token's generation", () => {
  const used: TokenEvent = { type: "TokenUsed", data: { count: 2, lastUsedAt: now } };
  const { state } = given(token.decider, [made(), used, used]);
  assert.is(state.uses, 4);
  assert.is(token.generation(state), token.generation(given(token.decider, [made()]).state));
});

test.run();
