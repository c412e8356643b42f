/** What the world sees of the identity context. No form holds a hash or a sealed value. */
import * as Schema from "effect/Schema";
import type { PublicEvents } from "../events.ts";
import { Name } from "../ids.ts";
import { isMoment } from "../moments.ts";
import { Grant } from "../permissions.ts";
import { Binding } from "./roles.ts";

/** Preferences of an organisation that have a meaning to every context. */
export const OrganisationSettings = Schema.Struct({
  timeZone: Schema.String.check(Schema.isPattern(/^[A-Za-z0-9_+/-]{1,64}$/u)).annotate({
    description: "IANA time zone in which schedules and reports of the organisation are meant",
    examples: ["Europe/Berlin"],
  }),
});
export type OrganisationSettings = typeof OrganisationSettings.Type;

/** Shown to people; any text. */
export const Title = Schema.String.check(Schema.isMinLength(1), Schema.isMaxLength(200)).annotate({
  title: "Title",
  description: "Shown to people, 1 to 200 characters",
  examples: ["The home"],
});

export const Timestamp = Schema.String.check(
  Schema.makeFilter((text: string) => isMoment(text) || "a moment that exists"),
  Schema.isPattern(/^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,9})?Z$/u),
).annotate({ title: "Timestamp", description: "RFC 3339, UTC", examples: ["2026-11-21T08:00:00.000Z"] });

export const organisationEvents = {
  OrganisationCreated: {
    version: 1,
    data: Schema.Struct({ name: Name, title: Title, settings: OrganisationSettings }),
    description: "An organisation was created.",
  },
  OrganisationRenamed: {
    version: 1,
    data: Schema.Struct({ from: Name, name: Name }),
    description: "An organisation has another unique name.",
  },
  OrganisationChanged: {
    version: 1,
    data: Schema.Struct({ title: Schema.optionalKey(Title), settings: Schema.optionalKey(OrganisationSettings) }),
    description: "Title or settings of an organisation were changed; only what changed is there.",
  },
  OrganisationArchived: {
    version: 1,
    data: Schema.Struct({}),
    description: "An organisation was archived: it can be read, and changed no more.",
  },
  OwnerAdded: {
    version: 1,
    data: Schema.Struct({ member: Schema.String }),
    description: "A member became an owner of the organisation.",
  },
  OwnerRemoved: {
    version: 1,
    data: Schema.Struct({ member: Schema.String }),
    description: "A member is an owner of the organisation no more. The last one cannot be.",
  },
} satisfies PublicEvents;

export const tokenEvents = {
  TokenCreated: {
    version: 1,
    data: Schema.Struct({
      name: Name,
      last8: Schema.String,
      grants: Schema.Array(Grant),
      expiresAt: Schema.optionalKey(Timestamp),
      installation: Schema.Boolean,
      member: Schema.optionalKey(Schema.String),
    }),
    description:
      "A token was created; `last8` are the last digits of its secret. With `member` it is that person's, and never does more than they may.",
  },
  TokenRoleGiven: { version: 1, data: Binding, description: "A role was given to a token." },
  TokenRoleTaken: { version: 1, data: Binding, description: "A role was taken from a token." },
  TokenUsed: {
    version: 1,
    data: Schema.Struct({ count: Schema.Int, lastUsedAt: Timestamp }),
    description: "A token was used `count` more times; uses are gathered for about a minute.",
  },
  TokenRevoked: { version: 1, data: Schema.Struct({}), description: "A token was revoked." },
} satisfies PublicEvents;

export const secretEvents = {
  SecretStored: {
    version: 1,
    data: Schema.Struct({ name: Name }),
    description: "A secret value was stored under a name.",
  },
  SecretReplaced: { version: 1, data: Schema.Struct({}), description: "A secret has another value." },
  SecretErased: {
    version: 1,
    data: Schema.Struct({}),
    description: "A secret was erased: its key is destroyed, nobody can read it again.",
  },
} satisfies PublicEvents;
