/**
 * Links to log lines, for people without a token. A link holds all that it lets read, signed: nothing is stored for it. It ends
 * with its time, and with the right of the token that made it: revoked, expired, or no longer allowed to read these lines.
 */
import { createHmac, timingSafeEqual } from "node:crypto";
import { LINK_CHARACTERS, type ShareLogs } from "@millrace/contracts/applications/logs.ts";
import { NotFound } from "@millrace/contracts/problems.ts";
import { application } from "@millrace/domain/applications/application.ts";
import { type Handle, handle, invalidInput, json, type Request } from "../command.ts";
import { fail } from "../failures.ts";
import type { Gateway } from "../gateway.ts";
import { Places } from "../places.ts";
import { filtersOf, matchOf, own, type Query, readPage, refusedAsInput, type Scope, type Scopes } from "./log-pages.ts";

export type Share = typeof ShareLogs.Type;

/** What is signed. Written and read here alone; another form gets another number. */
interface Link {
  readonly v: 1;
  /** Id of the token that made it. */
  readonly by: string;
  readonly org: string;
  readonly of: ReadonlyArray<Scope>;
  readonly query: Query;
  /** Milliseconds since 1970. */
  readonly until: number;
}

/** Reads under way at once, of one link and of all. */
const READS_OF_LINK = 4;
const READS_MOST = 64;

const signature = (key: Uint8Array, body: string): Buffer => createHmac("sha256", key).update(body).digest();

const write = (gateway: Gateway, link: Link): string => {
  const body = Buffer.from(JSON.stringify(link)).toString("base64url");
  return `${body}.${signature(gateway.shareKeys[0], body).toString("base64url")}`;
};

/** @returns undefined for what none of our keys has signed */
function read(gateway: Gateway, text: string): Link | undefined {
  const found = /^([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]{43})$/.exec(text);
  if (found === null) return undefined;
  const [, body, signed] = found as unknown as [string, string, string];
  const given = Buffer.from(signed, "base64url");
  // One spelling of it: the last digit holds two bits that say nothing.
  const isOurs = gateway.shareKeys.some((key) => timingSafeEqual(signature(key, body), given));
  if (!isOurs || given.toString("base64url") !== signed) return undefined;
  const link = JSON.parse(Buffer.from(body, "base64url").toString()) as Link;
  return link.v === 1 ? link : undefined;
}

/** Whether the token that made it may still read all of it. */
function isHeld({ identity }: Gateway, { by, org, of }: Link, now: number): boolean {
  const token = identity.token(by);
  if (token === undefined || token.revokedAt !== null) return false;
  if (token.expiresAt !== null && Date.parse(token.expiresAt) <= now) return false;
  if (!token.installation && token.organisation !== org) return false;
  const powers = identity.powersOf(token);
  return of.every(({ id }) => powers.allows("applications:logs", org, [id]));
}

const NO_LINK = () =>
  fail(
    new NotFound({
      detail: "There is no such link, or it is good no more.",
      fix: "Ask whoever gave it to you for another; `mill logs share` makes one.",
    }),
  );

export interface LogShares {
  make(scopes: Scopes): Handle<Request>;
  readonly show: Handle<Request>;
}

export function logShares(gateway: Gateway): LogShares {
  const places = new Places({
    each: READS_OF_LINK,
    all: READS_MOST,
    tooMany: (mine) => `This link is being read ${mine} times at this moment.`,
    full: "This gateway shows as many shared logs as it can at this moment.",
    fix: "Try again in a moment.",
  });
  return {
    make: (scopes) =>
      handle(gateway, async (request, asked) => {
        const { query = {}, expiresInMs } = request.payload as Share;
        const { deployment: _, ...chosen } = query;
        const of = await scopes(request, asked);
        const until = Date.now() + expiresInMs;
        const { id: org } = asked.organisation!;
        try {
          // What cannot be asked is refused now, and not to whoever opens the link.
          await gateway.logs.read({
            of: filtersOf(org, of, chosen),
            ...matchOf(chosen),
            since: until,
            order: "newest",
            limit: 1,
          });
        } catch (error) {
          throw refusedAsInput(error, "/body/query");
        }
        const link = write(gateway, { v: 1, by: asked.token!.id, org, of, query: chosen, until });
        if (link.length > LINK_CHARACTERS)
          fail(invalidInput("/body/query", "is too long for a link", "Look for less."));
        gateway.logger.info({ token: asked.token!.id, organisation: org, of: of.map(({ id }) => id) }, "logs shared");
        const url = `/v1/shared-logs/${link}`;
        const body = { url, expiresAt: new Date(until).toISOString() };
        return json(body, { status: 201, headers: { location: url } });
      }),

    show: handle(gateway, async (request) => {
      const { link: text } = request.params as { link: string };
      const link = read(gateway, text);
      const now = Date.now();
      if (link === undefined || link.until <= now || !isHeld(gateway, link, now)) return NO_LINK();
      const leave = places.enter(text);
      try {
        for (const { id } of link.of) await own(gateway, application, link.org, id);
        // Of the page only where it goes on is up to who reads.
        const { limit, cursor } = request.query as Query;
        const query: Query = {
          ...link.query,
          ...(limit === undefined ? {} : { limit }),
          ...(cursor === undefined ? {} : { cursor }),
        };
        return await readPage(gateway, filtersOf(link.org, link.of, link.query), query);
      } catch (error) {
        throw refusedAsInput(error);
      } finally {
        leave();
      }
    }),
  };
}
