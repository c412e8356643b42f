/** What the world sees of members, invitations and roles. */
import * as Schema from "effect/Schema";
import type { PublicEvents } from "../events.ts";
import { Name } from "../ids.ts";
import { Timestamp, Title } from "./events.ts";
import { Binding, Place } from "./roles.ts";

const { optionalKey } = Schema;

export const Email = Schema.String.check(Schema.isPattern(/^[^\s@<>"]{1,64}@[^\s@<>"]{1,189}$/u)).annotate({
  title: "E-mail",
  description: "An address; nothing is sent to it here",
  examples: ["ada@example.org"],
});

export const Avatar = Schema.String.check(
  Schema.isPattern(/^(sha256:[0-9a-f]{64}|https:\/\/[^\s"<>\\]{1,500})$/u),
).annotate({ description: "`sha256:` and the digest of a stored picture, or an https address" });

/** What a person likes, wherever they look. */
export const ProfileSettings = Schema.Struct({
  timeZone: optionalKey(Schema.String.check(Schema.isPattern(/^[A-Za-z0-9_+/-]{1,64}$/u))),
  language: optionalKey(Schema.String.check(Schema.isPattern(/^[a-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}$/u))),
  theme: optionalKey(Schema.Literals(["system", "light", "dark"])),
}).annotate({ identifier: "ProfileSettings" });
export type ProfileSettings = typeof ProfileSettings.Type;

export const RoleGrant = Schema.String.check(Schema.isPattern(/^(\*|[a-z]{1,32}:(\*|[a-z]{1,32}))$/u)).annotate({
  title: "Grant of a role",
  description: "`*`, `<context>:*` or `<context>:<verb>`; for what, is said where the role is bound",
  examples: ["applications:deploy"],
});

/** `null` takes a value off. */
export const Profile = {
  title: optionalKey(Title),
  email: optionalKey(Schema.NullOr(Email)),
  avatar: optionalKey(Schema.NullOr(Avatar)),
  settings: optionalKey(ProfileSettings),
};

export const memberEvents = {
  MemberJoined: {
    version: 1,
    data: Schema.Struct({
      name: Name,
      title: Title,
      email: optionalKey(Email),
      bindings: Schema.Array(Binding),
      invitation: Schema.String,
    }),
    description: "Somebody accepted an invitation, and is a member now.",
  },
  ProfileChanged: { version: 1, data: Schema.Struct(Profile), description: "A member's profile was changed." },
  MemberRoleGiven: { version: 1, data: Binding, description: "A role was given to a member." },
  MemberRoleTaken: { version: 1, data: Binding, description: "A role was taken from a member." },
  MemberRemoved: {
    version: 1,
    data: Schema.Struct({}),
    description: "A member was removed; their tokens end with it.",
  },
} satisfies PublicEvents;

export const invitationEvents = {
  InvitationMade: {
    version: 1,
    data: Schema.Struct({
      name: Name,
      title: Title,
      email: optionalKey(Email),
      role: Schema.String,
      at: optionalKey(Place),
      expiresAt: Timestamp,
      last8: Schema.String,
    }),
    description: "Somebody was invited; `last8` are the last digits of the one-time secret.",
  },
  InvitationAccepted: {
    version: 1,
    data: Schema.Struct({ member: Schema.String }),
    description: "An invitation was accepted: its secret is used up.",
  },
  InvitationRevoked: { version: 1, data: Schema.Struct({}), description: "An invitation was revoked." },
} satisfies PublicEvents;

const roleFields = { title: Title, description: Schema.String, grants: Schema.Array(RoleGrant) };

export const roleEvents = {
  RoleDefined: {
    version: 1,
    data: Schema.Struct({ name: Name, ...roleFields }),
    description: "A role was defined.",
  },
  RoleChanged: {
    version: 1,
    data: Schema.Struct({
      title: optionalKey(Title),
      description: optionalKey(Schema.String),
      grants: optionalKey(Schema.Array(RoleGrant)),
    }),
    description: "A role was changed; what it grants holds at once for all who have it.",
  },
  RoleDeleted: {
    version: 1,
    data: Schema.Struct({}),
    description: "A role was deleted: who has it can do nothing by it any more.",
  },
} satisfies PublicEvents;
