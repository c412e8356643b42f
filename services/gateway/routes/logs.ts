/** Log lines: a page as JSON, a download, or as they come by Server-Sent Events. */
import type { IncomingMessage } from "node:http";
import { within } from "@millrace/contracts/access.ts";
import { Api } from "@millrace/contracts/api.ts";
import { LOG_LIMITS } from "@millrace/contracts/applications/logs.ts";
import { application } from "@millrace/domain/applications/application.ts";
import { deployment } from "@millrace/domain/applications/deployment.ts";
import { build } from "@millrace/domain/publishing/build.ts";
import type { LogFilter, LogLine, LogNews, LogQuery } from "@millrace/eventlog/logs.ts";
import * as HttpServerResponse from "effect/http/HttpServerResponse";
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder";
import * as Stream from "effect/Stream";
import { forbidden } from "../access.ts";
import { type Asked, reachOf } from "../asked.ts";
import { type Handle, handle, invalidInput, type Request } from "../command.ts";
import { fail, problemOf } from "../failures.ts";
import type { Gateway } from "../gateway.ts";
import { Places } from "../places.ts";
import { endOf } from "./events.ts";
import {
  filtersOf,
  matchOf,
  own,
  type Query,
  rangeOf,
  readPage,
  refusedAsInput,
  type Scopes,
  shown,
} from "./log-pages.ts";
import { logShares, type Share } from "./log-shares.ts";

const HEARTBEAT_MS = 15_000;
/** How often it is looked whether a reader still may. */
const LOOK_MS = 500;
/** A reader that takes nothing for so long is cut. */
const STALLED_MS = 30_000;
const FOLLOWERS_MOST = 500;
const FOLLOWERS_OF_TOKEN = 20;
const DOWNLOAD_PAGE = 5_000;

export const logRoutes = (gateway: Gateway) => {
  const followers = new Places({
    each: FOLLOWERS_OF_TOKEN,
    all: FOLLOWERS_MOST,
    tooMany: (mine) => `This token follows ${mine} logs already.`,
    full: "This gateway follows as many logs as it can.",
    fix: "End some; one request can follow several applications.",
  });
  const answer = (scopes: Scopes): Handle<Request> =>
    handle(gateway, async (request, asked) => {
      const query = request.query as Query;
      const of = filtersOf(asked.organisation!.id, await scopes(request, asked), query);
      try {
        if (query.follow === "true") return await follow(gateway, followers, of, request, asked);
        if (query.download !== undefined) return download(gateway, of, query);
        return await readPage(gateway, of, query);
      } catch (error) {
        throw refusedAsInput(error);
      }
    });

  const ofApplication =
    (group: (request: Request) => string | undefined): Scopes =>
    async (request, asked) => [
      { id: await own(gateway, application, asked.organisation!.id, idOf(request)), group: group(request) },
    ];
  const ofApplications: Scopes = async ({ query }, asked) => {
    const names = new Set((query as Query).applications!.split(","));
    const organisation = asked.organisation!.id;
    const reach = reachOf(asked);
    const refuse = () => fail(forbidden("applications:logs"));
    return Promise.all(
      [...names].map(async (name) => {
        if (reach.length === 0) return { id: await own(gateway, application, organisation, name) };
        // A name that leads nowhere and one that leads to what is not allowed look alike.
        const id = await own(gateway, application, organisation, name).catch((error: unknown) =>
          problemOf(error)?.status === 404 ? refuse() : Promise.reject(error),
        );
        return within(reach, [id]) ? { id } : refuse();
      }),
    );
  };
  const shares = logShares(gateway);

  return HttpApiBuilder.group(Api, "logs", (handlers) =>
    handlers
      .handle("logsOfApplication", answer(ofApplication((request) => (request.query as Query).deployment)))
      .handle(
        "logsOfDeployment",
        answer(async (request, asked) => {
          const group = await own(gateway, deployment, asked.organisation!.id, idOf(request));
          const { state } = await gateway.log.aggregates.load(deployment, group);
          return [{ id: state.application, group }];
        }),
      )
      .handle(
        "logsOfBuild",
        answer(async (request, asked) => [
          { id: await own(gateway, build, asked.organisation!.id, idOf(request)), kind: build },
        ]),
      )
      .handle("logsOfApplications", answer(ofApplications))
      .handle(
        "shareLogsOfApplication",
        shares.make(ofApplication(({ payload }) => (payload as Share).query?.deployment)),
      )
      .handle("shareLogsOfApplications", shares.make(ofApplications))
      .handle("sharedLogs", shares.show),
  );
};

const idOf = (request: Request): string => (request.params as { id: string }).id;

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

const NOT_FOLLOWED = ["until", "cursor", "order", "download"] as const;

async function follow(
  gateway: Gateway,
  followers: Places,
  of: ReadonlyArray<LogFilter>,
  request: Request,
  asked: Asked,
): Promise<HttpServerResponse.HttpServerResponse> {
  const query = request.query as Query;
  const extra = NOT_FOLLOWED.find((name) => query[name] !== undefined);
  if (extra !== undefined) fail(invalidInput(`/query/${extra}`, "does not go with follow", "Leave it out."));
  const after = (request.headers as { "last-event-id"?: string })["last-event-id"] ?? query.after;
  const { since } = rangeOf(query);
  const ended = () => endOf(gateway, asked.token!.id, asked.powers!);
  const leave = followers.enter(asked.token!.id);
  const socket = (request.request.source as IncomingMessage).socket;
  const ending = new AbortController();
  // Whoever may no more is told within a moment, though no line comes.
  const watch = setInterval(() => void (ended() !== undefined && ending.abort()), LOOK_MS);
  const end = () => {
    clearInterval(watch);
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
    const events = frames(tail, first, {
      ended,
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
