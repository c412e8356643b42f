/**
 * Auth callout: a NATS server asks for everybody whom its own configuration does not know, and is told what they may. Users of the platform stand
 * in the configuration, so nothing here is in their way.
 *
 * Only servers can ask: in the account of subscribers nobody has the permission to publish there, and an answer that was not asked for is no
 * answer. So the request's own signature is not looked at; ours is, by the server.
 */
import { timingSafeEqual } from "node:crypto";
import { isId } from "@millrace/contracts/ids.ts";
import { inboxPrefix, readSubject, SUBSCRIBER_LIMITS } from "@millrace/contracts/integrations/subscribers.ts";
import { isSubscriberSecret } from "@millrace/contracts/token.ts";
import type { SubscriberState } from "@millrace/domain/integrations/subscriber.ts";
import type { Nats } from "@millrace/eventlog/connection.ts";
import { metrics } from "@millrace/eventlog/telemetry.ts";
import { type Msg, nuid } from "@nats-io/transport-node";
import { hashOf } from "../identity.ts";
import { userName } from "./connections.ts";
import type { Issuer } from "./issuer.ts";
import { digestOf, type Rights } from "./rights.ts";

export interface CalloutOptions {
  /** A connection in the account of subscribers. */
  readonly nats: Nats;
  readonly issuer: Issuer;
  readonly account: string;
  /** Whoever comes in clear is refused. */
  readonly tlsOnly: boolean;
  /** Why nobody can be judged at this moment. */
  readonly trouble: () => string | undefined;
  readonly find: (id: string) => SubscriberState | undefined;
  readonly rights: (state: SubscriberState, nowMs: number) => Rights | undefined;
  /** Connections that a subscriber has open. */
  readonly open: (id: string) => number;
}

type Outcome = "accepted" | "unknown" | "expired" | "powerless" | "too-many" | "unavailable" | "in-clear" | "malformed";

/** An hour after it was let in a connection is judged anew, whatever happens to gateways: it comes back by itself. */
const HOUR_MS = 3_600_000;
/** What a server asks is a few kilobytes. */
const REQUEST_MOST = 64 * 1024;

interface Asked {
  readonly nats: {
    readonly server_id: { readonly id: string };
    readonly user_nkey: string;
    readonly connect_opts?: { readonly user?: unknown; readonly pass?: unknown };
    /** There when the connection is by TLS. */
    readonly client_tls?: { readonly version?: unknown };
  };
}

/** @returns undefined for what no server would ask */
function readRequest(message: Msg): Asked["nats"] | undefined {
  if (message.data.length > REQUEST_MOST) return undefined;
  try {
    const body = message.string().split(".")[1] ?? "";
    const { nats } = JSON.parse(Buffer.from(body, "base64url").toString("utf8")) as Asked;
    return typeof nats.server_id.id === "string" && typeof nats.user_nkey === "string" ? nats : undefined;
  } catch {
    return undefined;
  }
}

const isHash = (secret: string, hash: string): boolean => {
  const [given, known] = [Buffer.from(hashOf(secret), "hex"), Buffer.from(hash, "hex")];
  return given.length === known.length && timingSafeEqual(given, known);
};

/** Which of its passwords it is, and until when that one is good. */
export function secretOf(
  { hash, previous }: SubscriberState,
  matches: (hash: string) => boolean,
  nowMs: number,
): { readonly hash: string; readonly until: number | undefined } | undefined {
  if (matches(hash)) return { hash, until: undefined };
  if (previous === null) return undefined;
  const until = Date.parse(previous.until);
  return until > nowMs && matches(previous.hash) ? { hash: previous.hash, until } : undefined;
}

/** Answers until it is stopped; several gateways share the questions. @returns stops it */
export function answerCallouts(options: CalloutOptions): () => void {
  const { nats } = options;
  const subscription = nats.nc.subscribe("$SYS.REQ.USER.AUTH", {
    queue: "gateways",
    callback: (error, message) => {
      if (error !== null) return;
      const asked = readRequest(message);
      if (asked === undefined) return void metrics.subscriberCallouts.inc({ outcome: "malformed" });
      const { outcome, jwt } = judge(options, asked, Date.now());
      metrics.subscriberCallouts.inc({ outcome });
      if (!nats.nc.isClosed()) message.respond(answer(options.issuer, asked, jwt));
    },
  });
  return () => subscription.unsubscribe();
}

/** Whoever is refused is not told why: a name that is known looks as one that never was. */
const answer = (issuer: Issuer, { server_id, user_nkey }: Asked["nats"], jwt: string | undefined): string =>
  issuer.sign(nuid.next(), {
    aud: server_id.id,
    sub: user_nkey,
    nats: {
      type: "authorization_response",
      version: 2,
      ...(jwt === undefined ? { error: "not let in" } : { jwt }),
    },
  });

function judge(
  { issuer, account, tlsOnly, trouble, find, rights, open }: CalloutOptions,
  { user_nkey, connect_opts, client_tls }: Asked["nats"],
  nowMs: number,
): { readonly outcome: Outcome; readonly jwt?: string } {
  const { user, pass } = connect_opts ?? {};
  if (typeof user !== "string" || typeof pass !== "string") return { outcome: "unknown" };
  if (!isId("sub", user) || !isSubscriberSecret(pass)) return { outcome: "unknown" };
  if (tlsOnly && typeof client_tls?.version !== "string") return { outcome: "in-clear" };
  if (trouble() !== undefined) return { outcome: "unavailable" };
  const state = find(user);
  const secret = state === undefined ? undefined : secretOf(state, (hash) => isHash(pass, hash), nowMs);
  if (state === undefined || secret === undefined) return { outcome: "unknown" };
  if (state.spec?.expiresAt != null && Date.parse(state.spec.expiresAt) <= nowMs) return { outcome: "expired" };
  const may = rights(state, nowMs);
  if (may === undefined) return { outcome: "powerless" };
  if (open(user) >= SUBSCRIBER_LIMITS.connections) return { outcome: "too-many" };
  const until = Math.min(nowMs + HOUR_MS, may.until ?? Infinity, secret.until ?? Infinity);
  return {
    outcome: "accepted",
    jwt: issuer.sign(nuid.next(), {
      aud: account,
      sub: user_nkey,
      name: userName(user, digestOf(may.live, secret.hash)),
      exp: Math.ceil(until / 1_000),
      nats: {
        type: "user",
        version: 2,
        // Nothing else can be published, so no server or service can be had to answer anywhere else than the gateway allows.
        pub: { allow: [readSubject(user)] },
        sub: { allow: [`${inboxPrefix(user)}.>`, ...may.live] },
        subs: -1,
        data: -1,
        payload: -1,
      },
    }),
  };
}
