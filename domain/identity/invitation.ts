/** Invitations: a one-time secret that makes whoever has it a member. Only its hash is kept. */
import { invitationEvents } from "@millrace/contracts/identity/access-events.ts";
import { ACCESS_LIMITS, type Binding } from "@millrace/contracts/identity/roles.ts";
import * as Schema from "effect/Schema";
import {
  type Circumstances,
  type Claim,
  type Decider,
  type Decision,
  invalid,
  type Refusal,
  rule,
} from "../decider.ts";
import type { Kind } from "../kind.ts";
import { beyond, bindingText, type Giver } from "./bindings.ts";

export interface Invitation {
  readonly id: string;
  readonly organisation: string;
  readonly name: string;
  readonly title: string;
  readonly email: string | null;
  readonly binding: Binding;
  /** SHA-256 of the secret, hex. Never shown. */
  readonly hash: string;
  readonly last8: string;
  readonly expiresAt: string;
  /** Who made it: a member or a token. It is worth what they may give when it is accepted. */
  readonly by: string;
  readonly createdBy: string;
  readonly member: string | null;
  readonly revokedAt: string | null;
  readonly generation: number;
  readonly createdAt: string;
  readonly updatedAt: string;
}

export type InvitationCommand =
  | {
      readonly do: "invite";
      readonly name: string;
      readonly title: string;
      readonly email?: string;
      readonly binding: Binding;
      readonly grants: ReadonlyArray<string>;
      readonly giver: Giver;
      readonly by: string;
      readonly hash: string;
      readonly last8: string;
      readonly expiresAt: string;
    }
  | {
      readonly do: "accept";
      readonly member: string;
      /** What the role grants now, and what the maker of the invitation holds now. */
      readonly grants: ReadonlyArray<string>;
      readonly giver: Giver;
    }
  | { readonly do: "revoke"; readonly seen?: number };

const Made = Schema.Struct({
  ...invitationEvents.InvitationMade.data.fields,
  role: invitationEvents.InvitationMade.data.fields.role,
  roleId: Schema.optionalKey(Schema.String),
  hash: Schema.String.check(Schema.isPattern(/^[0-9a-f]{64}$/u)),
  by: Schema.String,
});

export type InvitationEvent =
  | { readonly type: "InvitationMade"; readonly data: typeof Made.Type }
  | { readonly type: "InvitationAccepted"; readonly data: { readonly member: string } }
  | { readonly type: "InvitationRevoked"; readonly data: Readonly<Record<string, never>> };

const notThere: Refusal = { refused: "not-found", reason: "There is no such invitation." };

/** Where the secret leads to its invitation. */
export const secretClaim = (hash: string) => ({ what: "invitation-secret", value: hash });

const claim = (hash: string, hold: boolean): Claim => ({
  ...secretClaim(hash),
  hold,
  taken: { refused: "conflict", reason: "There is an invitation with this secret.", fix: "Invite again." },
});

const DAY_MS = 86_400_000;

function invite(
  { do: _, grants, giver, binding, ...invitation }: Extract<InvitationCommand, { do: "invite" }>,
  state: Invitation,
  { now }: Circumstances,
): Decision<InvitationEvent> {
  if (state.generation > 0) {
    return { refused: "conflict", reason: "This invitation exists already.", fix: "Use another Idempotency-Key." };
  }
  const ahead = Date.parse(invitation.expiresAt) - Date.parse(now);
  if (!(ahead > 0)) return invalid("/body/expiresAt", "lies in the past", "Give a time in the future.");
  if (ahead > ACCESS_LIMITS.invitationDays * DAY_MS) {
    const most = `${ACCESS_LIMITS.invitationDays} days`;
    return invalid("/body/expiresAt", `is more than ${most} away`, `Give a time within ${most}.`);
  }
  const refusal = beyond(giver, grants);
  if (refusal !== undefined) return refusal;
  const { role, id, at } = binding;
  const data = {
    ...invitation,
    role,
    ...(id === undefined ? {} : { roleId: id }),
    ...(at === undefined ? {} : { at }),
  };
  return { events: [{ type: "InvitationMade", data }], claims: [claim(data.hash, true)] };
}

function decide(
  command: InvitationCommand,
  state: Invitation,
  circumstances: Circumstances,
): Decision<InvitationEvent> {
  if (command.do === "invite") return invite(command, state, circumstances);
  if (state.generation === 0 || state.revokedAt !== null) return notThere;
  if (command.do === "accept") {
    // Used up and expired look alike to whoever holds the secret.
    if (state.member !== null || state.expiresAt <= circumstances.now) return notThere;
    if (beyond(command.giver, command.grants) !== undefined) {
      return rule(
        "invitation-outlived",
        "Whoever made the invitation may not give this role any more.",
        "Ask for another invitation.",
      );
    }
    return {
      events: [{ type: "InvitationAccepted", data: { member: command.member } }],
      claims: [claim(state.hash, false)],
    };
  }
  if (command.seen !== undefined && command.seen !== state.generation) {
    return { refused: "precondition", expected: command.seen, actual: state.generation };
  }
  if (state.member !== null) {
    return rule("invitation-accepted", "The invitation was accepted.", "Remove the member instead.");
  }
  return { events: [{ type: "InvitationRevoked", data: {} }], claims: [claim(state.hash, false)] };
}

const decider: Decider<Invitation, InvitationCommand, InvitationEvent> = {
  initial: (id) => ({
    id,
    organisation: "",
    name: "",
    title: "",
    email: null,
    binding: { role: "viewer" },
    hash: "",
    last8: "",
    expiresAt: "",
    by: "",
    createdBy: "",
    member: null,
    revokedAt: null,
    generation: 0,
    createdAt: "",
    updatedAt: "",
  }),
  decide,
  evolve: (state, event, { organisation, actor, time }) => {
    const next = { ...state, generation: state.generation + 1, updatedAt: time };
    switch (event.type) {
      case "InvitationMade": {
        const { role, roleId, at, email = null, ...data } = event.data;
        const binding = {
          role,
          ...(roleId === undefined ? {} : { id: roleId }),
          ...(at === undefined ? {} : { at }),
        };
        const createdBy = `${actor.kind}:${actor.id}:${actor.name}`;
        return { ...next, ...data, email, binding, organisation, createdBy, createdAt: time };
      }
      case "InvitationAccepted":
        return { ...next, member: event.data.member };
      case "InvitationRevoked":
        return { ...next, revokedAt: time };
    }
  },
};

const EXAMPLE = {
  name: "ada",
  title: "Ada",
  role: "developer",
  hash: "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
  last8: "x7Qp2aB9",
  expiresAt: "2026-11-28T08:00:00.000Z",
  by: "tok_01kajzq4v0e8r9t2m5x7c3d6fg",
};

export const invitation: Kind<Invitation, InvitationCommand, InvitationEvent> = {
  context: "identity",
  kind: "invitation",
  prefix: "inv",
  collection: "invitations",
  decider,
  events: {
    InvitationMade: {
      version: 1,
      data: Made,
      examples: { 1: EXAMPLE },
      sentence: ({ name, role, at }) => `invited "${name}", with ${bindingText({ role, at })}`,
      toPublic: ({ hash: _, by: __, roleId: ___, ...shown }) => shown,
    },
    InvitationAccepted: {
      version: 1,
      data: invitationEvents.InvitationAccepted.data,
      examples: { 1: { member: "usr_01kajzq4v0e8r9t2m5x7c3d6fg" } },
      sentence: () => "accepted the invitation",
    },
    InvitationRevoked: {
      version: 1,
      data: Schema.Struct({}),
      examples: { 1: {} },
      sentence: () => "revoked the invitation",
    },
  },
  publicEvents: invitationEvents,
  generation: (state) => state.generation,
  exists: (state) => state.generation > 0 && state.revokedAt === null,
  represent: (state) => ({
    id: state.id,
    organisation: state.organisation,
    spec: {
      name: state.name,
      title: state.title,
      ...(state.email === null ? {} : { email: state.email }),
      role: state.binding,
      expiresAt: state.expiresAt,
    },
    status: {
      state: state.member === null ? "open" : "accepted",
      last8: state.last8,
      createdBy: state.createdBy,
      ...(state.member === null ? {} : { member: state.member }),
    },
    generation: state.generation,
    createdAt: state.createdAt,
    updatedAt: state.updatedAt,
  }),
  stateVersion: 1,
};
