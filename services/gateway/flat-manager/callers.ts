/**
 * Who asks by flat-manager's API: a token of ours, or one that was signed by the secret of flat-manager's configuration, or by our own
 * key on behalf of a token of ours. And what they may do: by claims, by what our token may, or by both.
 */
import { createHash } from "node:crypto";
import type { IncomingMessage } from "node:http";
import type { Powers } from "@millrace/contracts/access.ts";
import { makeId } from "@millrace/contracts/ids.ts";
import { type FlatManagerConfig, repositoryNameOf } from "@millrace/contracts/publishing/flat-manager.ts";
import { isToken } from "@millrace/contracts/token.ts";
import type { Actor } from "@millrace/domain/decider.ts";
import type { Organisation } from "@millrace/domain/identity/organisation.ts";
import type { Token } from "@millrace/domain/identity/token.ts";
import { clientToken } from "@millrace/domain/publishing/client-token.ts";
import { ARCHIVED, admit, counted, tried } from "../access.ts";
import type { Asked } from "../asked.ts";
import type { Gateway } from "../gateway.ts";
import { TokenUses } from "../uses.ts";
import { away, insufficient, invalidToken, refusedOf } from "./answers.ts";
import { type Claims, coversApp, coversEveryApp, coversRepo, coversSubject } from "./claims.ts";
import { looksLikeJwt, readJwt } from "./jwt.ts";

/** What its clients' tokens may have, by flat-manager's words; and what a token of ours has to have for the same. */
export const SCOPES = {
  jobs: "publishing:read",
  build: "publishing:upload",
  upload: "publishing:upload",
  publish: "publishing:publish",
  generate: "publishing:edit",
  download: "publishing:download",
  republish: "publishing:publish",
  reviewcheck: "publishing:publish",
  tokenmanagement: "identity:tokens",
} as const;
export type FlatScope = keyof typeof SCOPES;

export interface Caller {
  readonly organisation: Organisation;
  readonly actor: Actor;
  /** Of a signed token. */
  readonly claims: Claims | undefined;
  /** Of a token of ours, or the one that a signed token was made for. */
  readonly powers: Powers | undefined;
  /** The token of ours. */
  readonly token: Token | undefined;
  /** Only the repositories that the configuration names. */
  readonly configured: boolean;
}

export interface Need {
  readonly sub: string;
  /** One of them is enough. */
  readonly scopes: ReadonlyArray<FlatScope>;
  /** Ids of what it is about and what that belongs to. */
  readonly lineage?: ReadonlyArray<string>;
  /** As clients call it. */
  readonly repo?: string;
  readonly app?: string | null;
  /** Whatever applications there are. */
  readonly everyApp?: boolean;
}

/** What a signed token says of itself; for what is not known yet it can be asked before. @throws FlatRefused (403) */
export function checkClaims({ claims }: Pick<Caller, "claims">, need: Need): void {
  const { sub, scopes, repo, app } = need;
  if (claims !== undefined) {
    if (!coversSubject(claims.sub, sub)) throw insufficient(`Not matching sub '${sub}' in token`);
    if (!scopes.some((scope) => claims.scope.includes(scope))) {
      throw insufficient(`Not matching scope '${scopes.join("' or '")}' in token`);
    }
    if (repo !== undefined && !coversRepo(claims, repo)) throw insufficient("Not matching repo in token");
    if (typeof app === "string" && !coversApp(claims, app)) {
      throw insufficient(`Id ${app} not matching prefix in token`);
    }
    if (need.everyApp === true && !coversEveryApp(claims)) throw insufficient("The token is not for all applications");
  }
}

/** @throws FlatRefused (403) */
export function check(caller: Caller, need: Need): void {
  checkClaims(caller, need);
  const { organisation, powers } = caller;
  const { scopes, lineage = [] } = need;
  if (powers !== undefined && !scopes.some((scope) => powers.allows(SCOPES[scope], organisation.id, lineage))) {
    throw insufficient(`It takes the permission ${SCOPES[scopes[0]!]}`);
  }
}

export interface FlatManagerSettings {
  /** As its users have it; undefined: only tokens of ours are taken. */
  readonly config: FlatManagerConfig | undefined;
  /** Name of the organisation that the configuration's repositories and tokens belong to. */
  readonly organisation: string;
  /** Sign what is made on behalf of tokens of ours: today's, then those of before. */
  readonly ownKeys: readonly [Uint8Array, ...Uint8Array[]];
}

export const ownKeyOf = (masterKey: Uint8Array): Uint8Array =>
  createHash("sha256").update("millrace signed tokens of publishing\n").update(masterKey).digest();

/** The aggregate of a signed token's id, in one organisation. */
export function clientTokenId(organisation: string, tokenId: string): string {
  const digest = createHash("sha256").update(`${organisation}\n${tokenId}`).digest();
  return makeId(clientToken.prefix, digest.readUIntBE(26, 6), digest);
}

interface Key {
  readonly bytes: Uint8Array;
  readonly from: "file" | "own";
}

interface SeenToken {
  readonly id: string;
  readonly organisation: string;
  readonly claims: Claims;
}

const SAYS = {
  malformed: "Invalid token: it is none, or was cut off",
  forged: "Invalid token: its signature is not ours",
  expired: "Invalid token: it has expired",
};
const REVOKED = "Invalid token: it was revoked";

export class Callers {
  readonly #gateway: Gateway;
  readonly #settings: FlatManagerSettings;
  readonly #uses: TokenUses<SeenToken>;
  readonly #keys: { readonly api: ReadonlyArray<Key>; readonly repo: ReadonlyArray<Key> };
  /** Names as clients use them, by names of ours. */
  readonly #clientNames = new Map<string, string>();

  constructor(gateway: Gateway, settings: FlatManagerSettings) {
    this.#gateway = gateway;
    this.#settings = settings;
    this.#uses = new TokenUses<SeenToken>(gateway.log, gateway.logger, ({ id, claims }, count, lastUsedAt) => ({
      kind: clientToken,
      id,
      command: {
        do: "use",
        tokenId: claims.jti!,
        name: claims.name ?? "",
        expiresAt: timeOf(claims.exp),
        count,
        lastUsedAt,
      },
    }));
    const { config, ownKeys } = settings;
    const key = (text: string): Key => ({ bytes: Buffer.from(text, "base64"), from: "file" });
    const own = ownKeys.map((bytes): Key => ({ bytes, from: "own" }));
    const secret = config?.secret;
    const repo = config?.["repo-secret"] ?? secret;
    this.#keys = {
      api: secret === undefined ? own : [key(secret), ...own],
      repo: repo === undefined || repo === null ? own : [key(repo), ...own],
    };
    for (const name of Object.keys(config?.repos ?? {})) this.#clientNames.set(repositoryNameOf(name)!, name);
  }

  get settings(): FlatManagerSettings {
    return this.#settings;
  }

  /** Signs for who asks: with the secret that signed theirs, or with ours. */
  get signing(): { readonly file: Uint8Array | undefined; readonly own: Uint8Array } {
    const file = this.#keys.api.find(({ from }) => from === "file");
    return { file: file?.bytes, own: this.#settings.ownKeys[0] };
  }

  stop(): Promise<void> {
    return this.#uses.stop();
  }

  /** What clients call a repository of ours. */
  clientNameOf(name: string): string {
    return this.#clientNames.get(name) ?? name;
  }

  /** What a repository is called here. @returns undefined where the caller knows of none by that name */
  nameOf(caller: Pick<Caller, "configured">, clientName: string): string | undefined {
    if (caller.configured && !Object.hasOwn(this.#settings.config?.repos ?? {}, clientName)) return undefined;
    const name = repositoryNameOf(clientName);
    // Another spelling of a name is another name, but for one that the file has.
    return name !== undefined && this.clientNameOf(name) === clientName ? name : undefined;
  }

  /** @throws FlatRefused (401, 503) */
  async ofApi(request: IncomingMessage, asked: Asked): Promise<Caller> {
    const caller = await this.#of(request, asked, "api");
    if (caller === undefined) throw this.#tried(asked, "No token specified");
    return caller;
  }

  /** Whoever downloads needs no token; one that is sent has to be good. @throws FlatRefused (401, 503) */
  ofDownload(request: IncomingMessage, asked: Asked): Promise<Caller | undefined> {
    return this.#of(request, asked, "repo");
  }

  /** Who asks for one file of many, whose node counts: a pull is a thousand of them. @throws FlatRefused (401, 503) */
  async ofFile(request: IncomingMessage, asked: Asked): Promise<Caller> {
    const caller = await this.#of(request, asked, "repo", false);
    if (caller === undefined) throw this.#tried(asked, "No token specified");
    return caller;
  }

  /** @throws FlatRefused */
  mayChange({ organisation }: Caller): void {
    if (organisation.archivedAt !== null) throw refusedOf(ARCHIVED);
  }

  async #of(request: IncomingMessage, asked: Asked, where: "api" | "repo", counts = true): Promise<Caller | undefined> {
    const { authorization } = request.headers;
    const { limits, identity } = this.#gateway;
    const by = {
      address: asked.address,
      class: request.method === "GET" || request.method === "HEAD" ? ("read" as const) : ("write" as const),
      response: asked.response,
    };
    let caller: Caller | undefined;
    if (authorization !== undefined) {
      if (identity.trouble !== undefined) throw away(`Nobody can be authorised at this moment: ${identity.trouble}`);
      const text = this.#credential(authorization, where);
      if (text === undefined) throw this.#tried(asked, "Invalid token: send Authorization: Bearer <token>");
      caller = isToken(text) ? this.#own(text, asked) : await this.#signed(text, asked, where);
    }
    const tooMuch = counts ? counted(limits, caller?.actor.id, by) : undefined;
    if (tooMuch !== undefined) throw refusedOf(tooMuch);
    return caller;
  }

  #credential(header: string, where: "api" | "repo"): string | undefined {
    const bearer = /^Bearer +([^\s]+) *$/i.exec(header)?.[1];
    // Stock clients of Flatpak can send a password only.
    const basic = where === "repo" ? /^Basic +([A-Za-z0-9+/]+={0,2}) *$/i.exec(header)?.[1] : undefined;
    const text = bearer ?? (basic === undefined ? undefined : passwordOf(basic));
    const prefix = this.#settings.config?.["token-prefix"] ?? "";
    return prefix !== "" && text?.startsWith(prefix) === true ? text.slice(prefix.length) : text;
  }

  #own(text: string, asked: Asked): Caller {
    const { identity, uses, limits } = this.#gateway;
    const need = { permission: "authenticated", organisation: undefined, changes: false } as const;
    const access = admit(identity, uses, text, need);
    if (!("token" in access)) {
      throw refusedOf(tried(limits, access, { address: asked.address, class: "read", response: asked.response }));
    }
    return this.#ofToken(access.token, access.powers, undefined);
  }

  #ofToken(token: Token, powers: Powers, claims: Claims | undefined): Caller {
    const organisation = this.#gateway.identity.organisation(token.organisation);
    if (organisation === undefined) throw invalidToken(SAYS.malformed);
    const actor: Actor = { kind: "token", id: token.id, name: claims?.name ?? token.name };
    return { organisation, actor, claims, powers, token, configured: false };
  }

  async #signed(text: string, asked: Asked, where: "api" | "repo"): Promise<Caller> {
    const { identity, log, uses } = this.#gateway;
    const now = Date.now();
    const read = looksLikeJwt(text) ? readJwt(this.#keys[where], text, now / 1_000) : "malformed";
    if (typeof read === "string") throw this.#tried(asked, SAYS[read]);
    const { claims, key } = read;
    if (key.from === "own") {
      // It lives no longer, and may do no more, than the token that it was made for.
      const token = claims.jti === undefined ? undefined : identity.token(claims.jti);
      const isOver =
        token === undefined ||
        token.revokedAt !== null ||
        (token.expiresAt !== null && Date.parse(token.expiresAt) <= now) ||
        (token.member !== null && identity.member(token.member) === undefined);
      if (isOver) throw this.#tried(asked, REVOKED);
      uses.used(token, now);
      return this.#ofToken(token, identity.powersOf(token), claims);
    }
    const organisation = identity.organisation(this.#settings.organisation);
    if (organisation === undefined) throw invalidToken("Invalid token: the organisation that it is for is not there");
    const name = claims.name ?? claims.sub;
    if (claims.jti === undefined) {
      const who = createHash("sha256").update(`${claims.sub}\n${name}`).digest("base64url").slice(0, 16);
      const actor: Actor = { kind: "token", id: `flat-manager:${who}`, name };
      return { organisation, actor, claims, powers: undefined, token: undefined, configured: true };
    }
    const id = clientTokenId(organisation.id, claims.jti);
    const { state } = await log.aggregates.load(clientToken, id);
    if (state.revokedAt !== null) throw this.#tried(asked, REVOKED);
    this.#uses.used({ id, organisation: organisation.id, claims }, now);
    const actor: Actor = { kind: "token", id, name };
    return { organisation, actor, claims, powers: undefined, token: undefined, configured: true };
  }

  #tried(asked: Asked, message: string) {
    const tooMany = this.#gateway.limits.take("tries", asked.address, asked.response);
    return tooMany === undefined ? invalidToken(message) : refusedOf(tooMany);
  }
}

/** RFC 3339, of seconds since 1970; what is beyond all calendars is their end. */
export const timeOf = (seconds: number): string =>
  new Date(Math.max(0, Math.min(seconds, 253_402_300_799)) * 1_000).toISOString();

function passwordOf(basic: string): string | undefined {
  const text = Buffer.from(basic, "base64").toString("utf8");
  const at = text.indexOf(":");
  // `http://<token>@host/`: then the client sends it as the user.
  return at < 0 ? undefined : text.slice(at + 1) || text.slice(0, at);
}
