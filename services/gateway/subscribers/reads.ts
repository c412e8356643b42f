/**
 * Reading the feed by request, for subscribers: `subscribers.<id>.read` is answered with what came after a position, at once or when something
 * comes. Each request is one short subscription of the hub, so filters, rights, catching up and gaps are those of WebSocket and SSE.
 */
import { CLOSE, type ControlFrame, type EventsQuery } from "@millrace/contracts/feed.ts";
import { inboxPrefix, ReadRequest, SUBSCRIBER_LIMITS } from "@millrace/contracts/integrations/subscribers.ts";
import { decodePosition } from "@millrace/contracts/position.ts";
import { InvalidInput, type Problem, RateLimited, TooLarge, Unauthenticated } from "@millrace/contracts/problems.ts";
import type { SubscriberState } from "@millrace/domain/integrations/subscriber.ts";
import type { FeedEvent } from "@millrace/eventlog/cloudevents.ts";
import type { Nats } from "@millrace/eventlog/connection.ts";
import type { Logger } from "@millrace/eventlog/logging.ts";
import { headers, type Msg, nuid } from "@nats-io/transport-node";
import * as Schema from "effect/Schema";
import { bodyOfProblem, problemOf, unavailable } from "../failures.ts";
import type { Gateway } from "../gateway.ts";
import type { Hub, Subscription } from "../hub.ts";
import type { Sink } from "../hub-sinks.ts";
import { readable } from "../routes/events-readable.ts";
import type { Rights } from "./rights.ts";

export interface ReadsOptions {
  readonly gateway: Pick<Gateway, "log" | "postgres" | "limits">;
  /** A connection in the account of subscribers. */
  readonly nats: Nats;
  readonly hub: Hub;
  readonly logger: Pick<Logger, "error" | "warn">;
  readonly trouble: () => string | undefined;
  readonly find: (id: string) => SubscriberState | undefined;
  readonly rights: (state: SubscriberState, nowMs: number) => Rights | undefined;
  /** Somebody who asks on and on though refused. */
  readonly onFlood: (id: string) => void;
  /** Requests of this gateway that wait or are worked on, at the most. */
  readonly inAll?: number;
}

const HEARTBEAT_MS = 60_000;
/** Requests refused for being too many, within a minute, after which the connections are ended. */
const FLOOD = 5_000;
const MINUTE_MS = 60_000;

const readBody = Schema.decodeUnknownSync(ReadRequest, { onExcessProperty: "error" });
const NO_MORE = new Unauthenticated({
  detail: "These credentials read nothing any more: they were revoked, have run out, or their maker's rights have.",
  fix: "Ask whoever made them; `mill subscribers show` tells of them.",
});

type Ask = typeof ReadRequest.Type;

/** Answers until it is stopped; several gateways share the questions. @returns stops it */
export function answerReads(options: ReadsOptions): () => void {
  const { nats, logger, inAll = 8_000 } = options;
  const underWay = new Map<string, number>();
  const refused = new Map<string, { count: number; until: number }>();
  let all = 0;

  const flooded = (id: string) => {
    const now = Date.now();
    if (refused.size > 10_000) for (const [one, { until }] of refused) if (until <= now) refused.delete(one);
    const known = refused.get(id);
    const counted = known === undefined || known.until <= now ? { count: 0, until: now + MINUTE_MS } : known;
    refused.set(id, counted);
    if (++counted.count < FLOOD) return;
    refused.delete(id);
    options.onFlood(id);
  };

  const take = (message: Msg) => {
    const id = message.subject.split(".")[1] ?? "";
    // Whoever asks says where to answer: nowhere but to itself, or this would be a way to write to others.
    if (message.reply?.startsWith(`${inboxPrefix(id)}.`) !== true) return flooded(id);
    const respond = (answer: string | Problem) => {
      if (nats.nc.isClosed()) return;
      if (typeof answer === "string") return void message.respond(answer);
      const h = headers();
      h.set("Nats-Service-Error-Code", String(answer.status));
      h.set("Nats-Service-Error", (answer.detail ?? answer.message).replaceAll(/[^ -~]/g, " ").slice(0, 200));
      message.respond(bodyOfProblem(answer, `nats_${nuid.next()}`), { headers: h });
    };
    const mine = underWay.get(id) ?? 0;
    const tooMuch =
      options.gateway.limits.take("read", id) ??
      (mine >= SUBSCRIBER_LIMITS.readsAtOnce
        ? new RateLimited({
            detail: `${mine} requests of these credentials wait already.`,
            fix: "Wait for their answers.",
            retryAfterSeconds: 1,
          })
        : undefined);
    if (tooMuch !== undefined) {
      flooded(id);
      return respond(tooMuch);
    }
    if (all >= inAll) return respond(unavailable("subscriptions", `This gateway serves ${inAll} requests already.`));
    underWay.set(id, mine + 1);
    all++;
    void answer(options, id, message)
      .catch((error: unknown) => {
        const problem = problemOf(error);
        if (problem === undefined) logger.error({ err: error, subscriber: id }, "a defect");
        return problem ?? unavailable("events", "The request could not be answered.");
      })
      .then(respond)
      .catch((error: unknown) => logger.warn({ err: error, subscriber: id }, "an answer could not be sent"))
      .finally(() => {
        all--;
        const left = underWay.get(id)! - 1;
        if (left === 0) underWay.delete(id);
        else underWay.set(id, left);
      });
  };

  const subscription = nats.nc.subscribe("subscribers.*.read", {
    queue: "gateways",
    callback: (error, message) => {
      if (error === null) take(message);
    },
  });
  return () => subscription.unsubscribe();
}

function read(message: Msg): Ask | Problem {
  if (message.data.length > SUBSCRIBER_LIMITS.requestBytes) {
    return new TooLarge({
      detail: `A request has at most ${SUBSCRIBER_LIMITS.requestBytes} bytes.`,
      fix: "Send less.",
    });
  }
  try {
    const ask = readBody(message.data.length === 0 ? {} : JSON.parse(message.string()));
    if (ask.after !== undefined && ask.from !== undefined)
      throw new Error("`from` cannot be given together with `after`");
    if (ask.after !== undefined && decodePosition(ask.after) === undefined) {
      throw new Error("`after` is not a position; take it as you were given it");
    }
    return ask;
  } catch (error) {
    const detail = String((error as Error).message)
      .split("\n")[0]!
      .slice(0, 300);
    return new InvalidInput({
      detail,
      errors: [{ pointer: "/body", detail }],
      fix: "Send `after`, `from`, `most`, `waitMs`.",
    });
  }
}

async function answer(options: ReadsOptions, id: string, message: Msg): Promise<string | Problem> {
  const { gateway, hub, trouble, find, rights } = options;
  const ask = read(message);
  if ("status" in ask) return ask;
  const why = trouble() ?? hub.trouble;
  if (why !== undefined) return unavailable("events", `Nobody can read at this moment: ${why}.`);
  const state = find(id);
  const may = state === undefined ? undefined : rights(state, Date.now());
  if (state === undefined || may === undefined) return NO_MORE;
  const { context: _, ...filter } = state.spec!.events;
  const query: EventsQuery = {
    ...filter,
    context: may.contexts,
    start: ask.after === undefined ? { from: ask.from ?? "now" } : { after: decodePosition(ask.after)! },
    heartbeatMs: HEARTBEAT_MS,
    onGap: "close",
  };
  const contexts = await readable(gateway, { organisation: may.organisation, powers: may.powers }, hub.contexts, query);
  if (!(contexts instanceof Map)) return contexts;
  // Asked before each event. What may be read is made of these two, and of the time.
  const ended = () => {
    const held = find(id) === state ? rights(state, Date.now()) : undefined;
    const isSame = held !== undefined && (held.powers === may.powers || held.powers.text === may.powers.text);
    return isSame ? undefined : { code: CLOSE.forbidden, reason: "what may be read has changed" };
  };
  return new Promise((resolve) => {
    const sink = new PageSink(
      ask,
      () => hub.isHearing(contexts.keys()),
      (answered) => {
        subscription?.gone();
        resolve(answered);
      },
    );
    let subscription: Subscription | undefined;
    subscription = hub.subscribe({ organisation: state.organisation, contexts, query, sink, ended });
  });
}

/** Gathers what the hub sends until it is enough for one answer. */
class PageSink implements Sink {
  readonly transport = "nats";
  readonly #most: number;
  readonly #waitMs: number;
  readonly #isHearing: () => boolean;
  readonly #done: (answer: string | Problem) => void;
  readonly #events: string[] = [];
  #bytes = 0;
  #position = "";
  #gap: Extract<ControlFrame, { type: "gap" }> | undefined;
  #isCaughtUp = false;
  #isOver = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(
    { most = SUBSCRIBER_LIMITS.events.usual, waitMs = 0 }: Ask,
    isHearing: () => boolean,
    done: (answer: string | Problem) => void,
  ) {
    this.#isHearing = isHearing;
    this.#most = most;
    this.#waitMs = waitMs;
    this.#done = done;
  }

  /** When it is full, nothing more is sent to it. */
  get buffered(): number {
    return this.#isOver ? Number.POSITIVE_INFINITY : 0;
  }

  event(event: FeedEvent, position: string): void {
    if (this.#isOver) return;
    const { json } = event;
    if (this.#events.length > 0 && this.#bytes + json.length > SUBSCRIBER_LIMITS.answerBytes) {
      this.#finish(false);
      return;
    }
    this.#events.push(json);
    this.#bytes += Buffer.byteLength(json);
    this.#position = position;
    if (this.#events.length >= this.#most || this.#bytes > SUBSCRIBER_LIMITS.answerBytes) this.#finish(false);
    // What happened in the same moment goes with it.
    else if (this.#isCaughtUp && this.#events.length === 1) setImmediate(() => this.#finish(true));
  }

  frame(frame: ControlFrame): void {
    if (this.#isOver) return;
    if (frame.type === "gap") {
      this.#gap = frame;
      if (this.#events.length === 0) this.#position = frame.oldest;
      return;
    }
    if (frame.type !== "heartbeat" || this.#events.length === 0) this.#position = frame.position;
    if (frame.type !== "caught-up") return;
    this.#isCaughtUp = true;
    if (this.#events.length > 0 || this.#waitMs === 0) this.#finish(true);
    else this.#timer = setTimeout(() => this.#finish(true), this.#waitMs);
  }

  close(code: number, reason: string): void {
    if (this.#isOver) return;
    if (code === CLOSE.gap) this.#finish(false);
    else this.#end(code === CLOSE.forbidden ? NO_MORE_OR_OTHER : unavailable("events", `${reason}; ask again.`));
  }

  /** @param atEnd nothing more was there: true only as far as the feed is heard */
  #finish(atEnd: boolean): void {
    if (this.#isOver) return;
    const live = atEnd && this.#isHearing();
    const gap =
      this.#gap === undefined
        ? ""
        : `,"gap":${JSON.stringify({ context: this.#gap.context, history: this.#gap.history, detail: this.#gap.detail })}`;
    this.#end(`{"events":[${this.#events.join(",")}],"position":"${this.#position}","live":${live}${gap}}`);
  }

  #end(answer: string | Problem): void {
    this.#isOver = true;
    clearTimeout(this.#timer);
    this.#done(answer);
  }
}

const NO_MORE_OR_OTHER = new Unauthenticated({
  detail: "What these credentials may read has changed meanwhile.",
  fix: "Connect again; whoever made them can tell what is left.",
});
