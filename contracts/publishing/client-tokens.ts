/** Tokens of flat-manager's form that carry an id of their own, as they were met: used, revoked. The tokens themselves are nowhere. */
import * as Schema from "effect/Schema";
import type { PublicEvents } from "../events.ts";
import { Time } from "../http.ts";

const text = (description: string) => Schema.String.annotate({ description });

export const ClientTokenUsed = Schema.Struct({
  tokenId: text("What stands in it as `jti`"),
  name: text("What stands in it as `name`"),
  expiresAt: Time,
  count: Schema.Int.annotate({ description: "How often since it was said last" }),
  lastUsedAt: Time,
});
export const ClientTokenRevoked = Schema.Struct({ tokenId: text("What stands in it as `jti`") });

export const clientTokenEvents = {
  ClientTokenUsed: { version: 1, data: ClientTokenUsed, description: "A client's signed token was used." },
  ClientTokenRevoked: { version: 1, data: ClientTokenRevoked, description: "A client's signed token was revoked." },
} as const satisfies PublicEvents;
