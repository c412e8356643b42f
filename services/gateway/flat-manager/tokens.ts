/** Tokens by flat-manager's API: a smaller one made of one's own, those that carry an id looked up and revoked. */
import { clientToken } from "@millrace/domain/publishing/client-token.ts";
import * as Schema from "effect/Schema";
import { type Answer, generic, insufficient } from "./answers.ts";
import { jsonOf } from "./body.ts";
import { type Call, change } from "./call.ts";
import { type Caller, check, clientTokenId, type FlatScope, SCOPES } from "./callers.ts";
import { type Claims, subsetOf } from "./claims.ts";
import { signJwt } from "./jwt.ts";
import { plainTime } from "./wire.ts";

const { optionalKey, NullOr } = Schema;
const Texts = Schema.Array(Schema.String);
const SubsetAsked = Schema.Struct({
  name: Schema.String,
  sub: Schema.String,
  scope: Texts,
  duration: Schema.Finite,
  prefixes: optionalKey(NullOr(Texts)),
  apps: optionalKey(NullOr(Texts)),
  repos: optionalKey(NullOr(Texts)),
});
const IdsAsked = Schema.Struct({ token_ids: Texts });

/** The longest that a signed token made for one of ours that never ends is good for, in seconds. */
const LONGEST = 365 * 24 * 3_600;

/** What a token of ours would say of itself in flat-manager's form. */
function ownClaims({ organisation, powers, token }: Caller, nowSeconds: number): Claims {
  const may = (scope: string): boolean => powers!.reach(SCOPES[scope as FlatScope], organisation.id) !== undefined;
  const until = token!.expiresAt === null ? nowSeconds + LONGEST : Date.parse(token!.expiresAt) / 1_000;
  return {
    sub: "build",
    exp: Math.floor(Math.min(until, nowSeconds + LONGEST)),
    name: token!.name,
    jti: token!.id,
    scope: Object.keys(SCOPES).filter(may),
    prefixes: [""],
    apps: [],
    repos: [""],
  };
}

export async function subset(call: Call): Promise<Answer> {
  const { caller, callers } = call;
  const { prefixes, apps, repos, ...asked } = await jsonOf(call.request, SubsetAsked, true);
  if (asked.duration < 0) throw generic("The duration is negative");
  const now = Math.floor(Date.now() / 1_000);
  const claims = caller.claims ?? ownClaims(caller, now);
  const made = subsetOf(
    claims,
    {
      ...asked,
      duration: Math.floor(asked.duration),
      prefixes: prefixes ?? undefined,
      apps: apps ?? undefined,
      repos: repos ?? undefined,
    },
    now,
  );
  if ("beyond" in made) throw insufficient(made.beyond);
  // What was made for a token of ours ends with it, and is signed by our own key.
  const { file, own } = callers.signing;
  const key = caller.token === undefined ? file! : own;
  return { body: { token: `${callers.settings.config?.["token-prefix"] ?? ""}${signJwt(key, made)}` } };
}

const IDS_MOST = 1_000;

async function idsAsked(call: Call): Promise<ReadonlyArray<string>> {
  check(call.caller, { sub: "", scopes: ["tokenmanagement"] });
  const { token_ids: ids } = await jsonOf(call.request, IdsAsked, true);
  if (ids.length > IDS_MOST) throw generic(`At most ${IDS_MOST} at once`);
  return [...new Set(ids)];
}

export async function list(call: Call): Promise<Answer> {
  const ids = await idsAsked(call);
  const { aggregates } = call.gateway.log;
  const organisation = call.caller.organisation.id;
  const found = await Promise.all(ids.map((id) => aggregates.load(clientToken, clientTokenId(organisation, id))));
  const time = (text: string | null): string | null => (text === null ? null : plainTime(text));
  const body = found
    .filter(({ state }) => clientToken.exists(state))
    .map(({ state: { tokenId, expiresAt, lastUsedAt, revokedAt } }) => ({
      token_id: tokenId,
      expires: time(expiresAt),
      last_used: time(lastUsedAt),
      revoked_at: time(revokedAt),
    }));
  return { body };
}

export async function revoke(call: Call): Promise<Answer> {
  const ids = await idsAsked(call);
  for (const tokenId of ids) {
    const id = clientTokenId(call.caller.organisation.id, tokenId);
    await change(call, { kind: clientToken, id, command: { do: "revoke", tokenId } });
  }
  return { status: 204 };
}
