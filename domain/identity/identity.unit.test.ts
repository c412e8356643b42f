/** The rules of identity, as tables: given these events, when this command, then these events or that refusal. */
import * as assert from "uvu/assert";
import { suite } from "../../tests/harness/suite.ts";
import { type Decider, type DomainEvent, isRefusal } from "../decider.ts";
import { type OrganisationCommand, type OrganisationEvent, organisation } from "./organisation.ts";
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
table("a secret", secret.decider, secrets);

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
