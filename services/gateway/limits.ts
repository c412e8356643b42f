/**
 * How much one may ask: per token and class of request, per address, and tries that let nobody in per address; by counters in memory, of this
 * gateway alone. Told in the fields `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers), refused as 429.
 *
 * Counting costs a request nothing it would wait for: what a count came to is known before the next request is read, so who has used up what
 * they have is refused from then on.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { BlockList, isIP } from "node:net";
import { RateLimited } from "@millrace/contracts/problems.ts";
import { RateLimiterMemory, type RateLimiterRes } from "rate-limiter-flexible";

export type LimitClass = "read" | "write" | "expensive" | "address" | "tries";

/** Connections open at once: each is a file, and of those a process has 20,000 and more on what it usually runs on. */
export const CONNECTIONS_USUAL = 16_000;

/** Of a minute. Nobody who means well comes near; what has gone wild does. */
export const USUAL_LIMITS: Readonly<Record<LimitClass, number>> = {
  read: 60_000,
  write: 30_000,
  expensive: 3_000,
  address: 120_000,
  tries: 120,
};

const WINDOW_SECONDS = 60;
/** What has been used up, looked through when there is more of it. */
const USED_UP_MOST = 10_000;

const SAYS: Readonly<Record<LimitClass, string>> = {
  read: "This token reads too often.",
  write: "This token changes things too often.",
  expensive: "This token asks too often for what is expensive.",
  address: "Too much is asked from this address.",
  tries: "Too many tries from this address that let nobody in.",
};

interface Policy {
  readonly limiter: RateLimiterMemory;
  /** The field that tells it. */
  readonly told: string;
}

export interface LimitSettings {
  readonly perMinute: Partial<Readonly<Record<LimitClass, number | undefined>>>;
  /** Addresses and networks whose `X-Forwarded-For` is believed. */
  readonly trustedProxies?: ReadonlyArray<string>;
}

export class Limits {
  readonly #policies = new Map<LimitClass, Policy>();
  /** By class and key: until when, in milliseconds since 1970. */
  readonly #usedUp = new Map<string, number>();
  readonly #trusted: BlockList | undefined;

  constructor({ perMinute, trustedProxies = [] }: LimitSettings) {
    for (const name of Object.keys(USUAL_LIMITS) as LimitClass[]) {
      const points = perMinute[name] ?? USUAL_LIMITS[name];
      this.#policies.set(name, {
        limiter: new RateLimiterMemory({ points, duration: WINDOW_SECONDS, keyPrefix: name }),
        told: `"${name}";q=${points};w=${WINDOW_SECONDS}`,
      });
    }
    this.#trusted = trustedProxies.length === 0 ? undefined : listOf(trustedProxies);
  }

  /**
   * Counts one request.
   * @param key e.g. the token's id
   * @param response told how much is left
   * @returns why not, when it is used up
   */
  take(name: LimitClass, key: string, response?: ServerResponse): RateLimited | undefined {
    const refused = this.refusal(name, key, response);
    if (refused !== undefined) return refused;
    const policy = this.#policies.get(name)!;
    const count = (state: RateLimiterRes) => {
      if (state.remainingPoints <= 0) this.#useUp(`${name} ${key}`, Date.now() + state.msBeforeNext);
      if (response !== undefined) tell(response, name, policy, state.remainingPoints, state.msBeforeNext);
    };
    // Over the limit it rejects with the same.
    policy.limiter.consume(key).then(count, count);
    return undefined;
  }

  /** Whether it is used up, without counting. */
  refusal(name: LimitClass, key: string, response?: ServerResponse): RateLimited | undefined {
    const until = this.#usedUp.get(`${name} ${key}`);
    if (until === undefined) return undefined;
    const left = until - Date.now();
    if (left <= 0) {
      this.#usedUp.delete(`${name} ${key}`);
      return undefined;
    }
    if (response !== undefined) tell(response, name, this.#policies.get(name)!, 0, left);
    return new RateLimited({
      detail: SAYS[name],
      fix: "Wait as long as `Retry-After` says; ask for more at once, less often, or subscribe to events.",
      retryAfterSeconds: Math.max(1, Math.ceil(left / 1_000)),
    });
  }

  /** The address that a request comes from: the last that no trusted proxy has. */
  addressOf({ socket, headers }: IncomingMessage): string {
    const remote = plain(socket.remoteAddress ?? "");
    if (this.#trusted === undefined || !has(this.#trusted, remote)) return remote;
    const forwarded = headers["x-forwarded-for"];
    const all = (Array.isArray(forwarded) ? forwarded.join() : (forwarded ?? ""))
      .split(",")
      .map((part) => plain(part.trim()));
    const found = all.reverse().find((address) => isIP(address) !== 0 && !has(this.#trusted!, address));
    return found ?? remote;
  }

  /** Whether the client came by TLS, to a proxy that is trusted. */
  isSecure(request: IncomingMessage): boolean {
    return request.headers["x-forwarded-proto"] === "https" && this.isForwarded(request);
  }

  /** Whether it came through a proxy that is trusted: what that says of the client's request is so. */
  isForwarded({ socket }: IncomingMessage): boolean {
    return this.#trusted !== undefined && has(this.#trusted, plain(socket.remoteAddress ?? ""));
  }

  #useUp(what: string, until: number): void {
    if (this.#usedUp.size >= USED_UP_MOST) {
      const now = Date.now();
      for (const [known, end] of this.#usedUp) if (end <= now) this.#usedUp.delete(known);
    }
    this.#usedUp.set(what, until);
  }
}

function tell(response: ServerResponse, name: LimitClass, { told }: Policy, left: number, ms: number): void {
  if (response.headersSent) return;
  response.setHeader("ratelimit-policy", told);
  response.setHeader("ratelimit", `"${name}";r=${Math.max(0, left)};t=${Math.ceil(ms / 1_000)}`);
}

/** An IPv4 address in IPv6's clothes is one of IPv4. */
const plain = (address: string): string => (address.startsWith("::ffff:") ? address.slice(7) : address);

const has = (list: BlockList, address: string): boolean => {
  const family = isIP(address);
  return family !== 0 && list.check(address, family === 6 ? "ipv6" : "ipv4");
};

/** @throws Error for what is neither an address nor a network */
export function listOf(networks: ReadonlyArray<string>): BlockList {
  const list = new BlockList();
  for (const network of networks) {
    const [address = "", bits] = network.split("/");
    const type = isIP(address) === 6 ? "ipv6" : "ipv4";
    if (bits === undefined) list.addAddress(address, type);
    else list.addSubnet(address, Number(bits), type);
  }
  return list;
}
