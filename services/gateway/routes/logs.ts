/** Log lines: a page as JSON, a download, or as they come by Server-Sent Events. */
import type { IncomingMessage } from "node:http";
import { Api } from "@millrace/contracts/api.ts";
import { LOG_LIMITS } from "@millrace/contracts/applications/logs.ts";
import { NotFound, RateLimited } from "@millrace/contracts/problems.ts";
import { application } from "@millrace/domain/applications/application.ts";
import { deployment } from "@millrace/domain/applications/deployment.ts";
import type { Kind } from "@millrace/domain/kind.ts";
import type { LogFilter, LogLine, LogMatch, LogNews, LogQuery } from "@millrace/eventlog/logs.ts";
import { LogQueryRefused } from "@millrace/eventlog/logs-failures.ts";
import * as HttpServerResponse from "effect/http/HttpServerResponse";
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder";
import * as Stream from "effect/Stream";
import type { Asked } from "../asked.ts";
import { type Handle, handle, invalidInput, json, type Request } from "../command.ts";
import { fail, problemOf } from "../failures.ts";
import { type Gateway, resolve } from "../gateway.ts";
import { endOf } from "./events.ts";

interface Query extends LogMatch {
  readonly since?: string;
  readonly until?: string;
  readonly source?: string;
  readonly instance?: string;
  readonly deployment?: string;
  readonly order?: LogQuery["order"];
  readonly limit?: number;
  readonly cursor?: string;
  readonly follow?: "true" | "false";
  readonly after?: string;
  readonly download?: "ndjson" | "text";
  readonly applications?: string;
}

const HEARTBEAT_MS = 15_000;
/** A reader that takes nothing for so long is cut. */
const STALLED_MS = 30_000;
const FOLLOWERS_MOST = 500;
const FOLLOWERS_OF_TOKEN = 20;
const DOWNLOAD_PAGE = 5_000;

type Scope = Pick<LogFilter, "id" | "group">;

export const logRoutes = (gateway: Gateway) => {
  const followers = new Followers();
  const answer = (scopes: (request: Request, asked: Asked) => Promise<ReadonlyArray<Scope>>): Handle<Request> =>
    handle(gateway, async (request, asked) => {
      const query = request.query as Query;
      const organisation = asked.organisation!.id;
      const of = (await scopes(request, asked)).map(
        (scope): LogFilter => ({
          organisation,
          context: "applications",
          kind: "application",
          ...scope,
          ...(query.source === undefined ? {} : { source: query.source }),
          ...(query.instance === undefined ? {} : { instance: query.instance }),
        }),
      );
      try {
        if (query.follow === "true") return await follow(gateway, followers, of, request, asked);
        if (query.download !== undefined) return download(gateway, of, query);
        return await readPage(gateway, of, query);
      } catch (error) {
        throw refusedAsInput(error);
      }
    });

  return HttpApiBuilder.group(Api, "logs", (handlers) =>
    handlers
      .handle(
        "logsOfApplication",
        answer(async (request, asked) => {
          const { deployment: group } = request.query as Query;
          const id = await own(gateway, application, asked, idOf(request));
          return [{ id, ...(group === undefined ? {} : { group }) }];
        }),
      )
      .handle(
        "logsOfDeployment",
        answer(async (request, asked) => {
          const group = await own(gateway, deployment, asked, idOf(request));
          const { state } = await gateway.log.aggregates.load(deployment, group);
          return [{ id: state.application, group }];
        }),
      )
      .handle(
        "logsOfApplications",
        answer(async (request, asked) => {
          const names = new Set((request.query as Query).applications!.split(","));
          return Promise.all([...names].map(async (name) => ({ id: await own(gateway, application, asked, name) })));
        }),
      ),
  );
};

const idOf = (request: Request): string => (request.params as { id: string }).id;

/** Id of what belongs to the organisation. @throws Failed (not-found) */
async function own<S>(gateway: Gateway, kind: Kind<S>, asked: Asked, reference: string): Promise<string> {
  const organisation = asked.organisation!.id;
  const id = await resolve(gateway, kind, organisation, reference);
  const loaded = await gateway.log.aggregates.load(kind, id);
  const there = loaded.organisation === organisation && kind.exists(loaded.state);
  return there ? id : fail(new NotFound({ detail: `There is no such ${kind.kind}.` }));
}

const POINTERS = { of: "applications", after: "cursor" } as Readonly<Record<string, string>>;

function refusedAsInput(error: unknown): unknown {
  if (!(error instanceof LogQueryRefused)) return error;
  const pointer = `/query/${POINTERS[error.field] ?? error.field}`;
  return invalidInput(pointer, error.reason, error.fix);
}

function time(query: Query, name: "since" | "until"): number | undefined {
  const text = query[name];
  const ms = text === undefined ? undefined : Date.parse(text);
  return Number.isNaN(ms) ? fail(invalidInput(`/query/${name}`, "is no time", "Send RFC 3339.")) : ms;
}

const matchOf = ({ level, q, regex }: Query): LogMatch => ({
  ...(level === undefined ? {} : { level }),
  ...(q === undefined ? {} : { q }),
  ...(regex === undefined ? {} : { regex }),
});

function rangeOf(query: Query): { since?: number; until?: number } {
  const since = time(query, "since");
  const until = time(query, "until");
  return { ...(since === undefined ? {} : { since }), ...(until === undefined ? {} : { until }) };
}

/** As the world sees it. */
const shown = (line: LogLine) => ({
  time: new Date(line.time).toISOString(),
  level: line.level,
  text: line.text,
  application: line.from.id,
  source: line.from.source,
  ...(line.from.group === undefined ? {} : { deployment: line.from.group }),
  ...(line.from.instance === undefined ? {} : { instance: line.from.instance }),
  ...(line.stderr ? { stderr: true } : {}),
  ...(line.cut ? { cut: true } : {}),
  ...(line.gap ? { gap: true } : {}),
  position: line.position,
});

async function readPage(gateway: Gateway, of: ReadonlyArray<LogFilter>, query: Query) {
  const page = await gateway.logs.read({
    of,
    ...matchOf(query),
    ...rangeOf(query),
    order: query.order ?? "newest",
    limit: query.limit ?? LOG_LIMITS.listDefault,
    ...(query.cursor === undefined ? {} : { after: query.cursor }),
  });
  return json({ items: page.lines.map(shown), ...(page.next === undefined ? {} : { nextCursor: page.next }) });
}

const TYPES = { ndjson: "application/x-ndjson", text: "text/plain; charset=utf-8" } as const;

function download(gateway: Gateway, of: ReadonlyArray<LogFilter>, query: Query): HttpServerResponse.HttpServerResponse {
  const format = query.download!;
  const range = rangeOf(query);
  const lineText = (line: LogLine): string => {
    const { group, instance } = line.from;
    const place = [line.from.source, group, instance].filter((part) => part !== undefined).join("/");
    return `${new Date(line.time).toISOString()} ${place} ${line.level ?? "-"} ${line.text}\n`;
  };
  async function* pages(): AsyncGenerator<Uint8Array> {
    let after = query.cursor;
    for (let left: number = LOG_LIMITS.downloadLines; ; ) {
      const limit = Math.min(left, DOWNLOAD_PAGE);
      const asked: LogQuery = { of, ...matchOf(query), ...range, order: "oldest", limit };
      const page = await gateway.logs.read(after === undefined ? asked : { ...asked, after });
      const write = format === "text" ? lineText : (line: LogLine) => `${JSON.stringify(shown(line))}\n`;
      if (page.lines.length > 0) yield Buffer.from(page.lines.map(write).join(""));
      left -= page.lines.length;
      after = page.next;
      if (after === undefined) return;
      if (left <= 0) {
        const more = { nextCursor: after };
        yield Buffer.from(format === "text" ? `# more with cursor=${after}\n` : `${JSON.stringify(more)}\n`);
        return;
      }
    }
  }
  return HttpServerResponse.stream(
    Stream.fromAsyncIterable(pages(), (error) => error),
    {
      contentType: TYPES[format],
      headers: { "content-disposition": `attachment; filename="logs.${format === "text" ? "txt" : "ndjson"}"` },
    },
  );
}

/** Those who follow, counted: each costs the server a consumer. */
class Followers {
  #all = 0;
  readonly #ofToken = new Map<string, number>();

  /** @returns gives the place back @throws Failed (rate-limited) */
  enter(token: string): () => void {
    const mine = this.#ofToken.get(token) ?? 0;
    if (this.#all >= FOLLOWERS_MOST || mine >= FOLLOWERS_OF_TOKEN) {
      const detail =
        mine >= FOLLOWERS_OF_TOKEN
          ? `This token follows ${mine} logs already.`
          : "This gateway follows as many logs as it can.";
      fail(
        new RateLimited({
          detail,
          fix: "End some; one request can follow several applications.",
          retryAfterSeconds: 10,
        }),
      );
    }
    this.#all++;
    this.#ofToken.set(token, mine + 1);
    let isIn = true;
    return () => {
      if (!isIn) return;
      isIn = false;
      this.#all--;
      const left = this.#ofToken.get(token)! - 1;
      if (left === 0) this.#ofToken.delete(token);
      else this.#ofToken.set(token, left);
    };
  }
}

const NOT_FOLLOWED = ["until", "cursor", "order", "download"] as const;

async function follow(
  gateway: Gateway,
  followers: Followers,
  of: ReadonlyArray<LogFilter>,
  request: Request,
  asked: Asked,
): Promise<HttpServerResponse.HttpServerResponse> {
  const query = request.query as Query;
  const extra = NOT_FOLLOWED.find((name) => query[name] !== undefined);
  if (extra !== undefined) fail(invalidInput(`/query/${extra}`, "does not go with follow", "Leave it out."));
  const after = (request.headers as { "last-event-id"?: string })["last-event-id"] ?? query.after;
  const { since } = rangeOf(query);
  const leave = followers.enter(asked.token!.id);
  const socket = (request.request.source as IncomingMessage).socket;
  const ending = new AbortController();
  const end = () => {
    ending.abort();
    leave();
  };
  socket.once("close", end);
  const begin = after !== undefined ? { after } : since !== undefined ? { since } : { last: query.limit ?? 0 };
  const tail = gateway.logs.tail({
    of,
    ...matchOf(query),
    ...("last" in begin && begin.last === 0 ? {} : begin),
    signal: ending.signal,
  });
  try {
    // What can be refused is refused before the stream begins.
    const first = await tail.next();
    const { id, grants } = asked.token!;
    const events = frames(tail, first, {
      ended: () => endOf(gateway, id, grants),
      stalled: () => socket.destroy(),
      end: () => {
        socket.off("close", end);
        end();
      },
    });
    return HttpServerResponse.stream(
      Stream.fromAsyncIterable(events, (error) => error),
      {
        contentType: "text/event-stream",
        headers: { "cache-control": "no-store", "x-accel-buffering": "no" },
      },
    );
  } catch (error) {
    socket.off("close", end);
    end();
    throw error;
  }
}

interface Following {
  /** Why it must end now. */
  readonly ended: () => { readonly code: number; readonly reason: string } | undefined;
  readonly stalled: () => void;
  readonly end: () => void;
}

async function* frames(
  tail: AsyncGenerator<LogNews, void, undefined>,
  first: IteratorResult<LogNews, void>,
  following: Following,
): AsyncGenerator<Uint8Array> {
  let next: Promise<IteratorResult<LogNews, void>> = Promise.resolve(first);
  let closing: { code: number; reason: string } | undefined;
  try {
    yield Buffer.from("retry: 2000\n\n");
    while (closing === undefined) {
      let timer: NodeJS.Timeout | undefined;
      const beat = new Promise<"beat">((resolve) => {
        timer = setTimeout(() => resolve("beat"), HEARTBEAT_MS);
      });
      const told = await Promise.race([next, beat]).catch((error: unknown) => ({ error }));
      clearTimeout(timer);
      closing = following.ended();
      if (closing !== undefined) break;
      if (typeof told === "object" && "error" in told) {
        const reason = problemOf(told.error)?.detail ?? "the log cannot be read at the moment";
        closing = { code: 1012, reason };
        break;
      }
      if (told !== "beat" && told.done === true) return;
      const frame = told === "beat" ? frameOf("heartbeat", undefined, {}) : frameOfNews(told.value as LogNews);
      if (told !== "beat") next = tail.next();
      next.catch(() => {});
      const cut = setTimeout(following.stalled, STALLED_MS);
      yield frame;
      clearTimeout(cut);
    }
    yield frameOf("closing", undefined, closing);
  } finally {
    following.end();
    void tail.return().catch(() => {});
  }
}

function frameOfNews(news: LogNews): Uint8Array {
  if (news.type === "lines") return frameOf("lines", news.position, { items: news.lines.map(shown) });
  const detail =
    news.type === "gap" ? { detail: "Lines that came here are no longer kept.", position: news.position } : {};
  return frameOf(news.type, news.position, detail);
}

const frameOf = (event: string, id: string | undefined, data: unknown): Uint8Array =>
  Buffer.from(`${id === undefined ? "" : `id: ${id}\n`}event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
