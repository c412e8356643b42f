/** Events as they come: Server-Sent Events of the gateway, taken up again where they were when the connection is lost. */
import { Failure, interrupted, timedOut, usage } from "../failure.ts";
import { bodyOf, type Gateway, gatewayOf, sleep } from "../gateway.ts";
import { oneLine } from "../io.ts";
import { kindNamed } from "../kinds.ts";
import { styleOf } from "../run.ts";
import { type AnyCall, type Call, EXIT, type None } from "../table.ts";

/** What the gateway sends (contracts/feed.ts), as far as it is looked at here. */
interface Frame {
  readonly type: "event" | "hello" | "caught-up" | "position" | "gap" | "closing";
  readonly position?: string;
  readonly event?: CloudEvent;
  readonly oldest?: string;
  readonly detail?: string;
  readonly code?: number;
  readonly reason?: string;
}

interface CloudEvent {
  readonly id: string;
  readonly source: string;
  readonly type: string;
  readonly time: string;
  readonly actor: string;
  readonly data: unknown;
}

/** Query of a subscription; lists are separated by commas. */
export interface Wanted {
  readonly context?: string;
  readonly kind?: string;
  readonly id?: string;
  readonly type?: string;
  readonly after?: string | undefined;
  readonly from?: string;
}

const HEARTBEAT_MS = 15_000;
/** Without a byte for so long the connection is given up, in milliseconds. */
const SILENCE_MS = 2.5 * HEARTBEAT_MS;
/** A line of the stream longer than this is no event of ours. */
const LINE_CHARACTERS = 16 << 20;

/**
 * Frames without end. A lost connection is taken up again after the last position, so nothing is missed or shown twice.
 * @throws Failure when the gateway refuses, at a gap, or when interrupted
 */
export async function* frames(gateway: Gateway, call: AnyCall, wanted: Wanted): AsyncGenerator<Frame> {
  let { after } = wanted;
  for (let failures = 0; ; ) {
    try {
      for await (const frame of connection(gateway, call, after === undefined ? wanted : { ...wanted, after })) {
        failures = 0;
        if (frame.type === "gap") throw gap(frame);
        if (frame.type === "closing") throw closing(frame);
        if (frame.position !== undefined) after = frame.position;
        yield frame;
      }
    } catch (error) {
      if (error instanceof Failure) throw error;
      if (call.io.interrupted.aborted) throw interrupted();
      if (failures === 0) call.io.err(`connection lost (${reasonOf(error)}), coming back\n`);
    }
    if (call.io.interrupted.aborted) throw interrupted();
    await sleep(Math.min(5_000, 100 * 2 ** failures++) * (0.5 + Math.random() / 2), call.io.interrupted);
  }
}

const reasonOf = (error: unknown): string => {
  const cause = (error as Error).cause as NodeJS.ErrnoException | undefined;
  return oneLine(cause?.code ?? cause?.message ?? (error as Error).message);
};

const gap = ({ oldest, detail }: Frame): Failure =>
  new Failure("gap", EXIT.conflict, "What came after this position is no longer kept in the feed", {
    why: detail,
    fix: `Go on with the oldest that is left: --after ${oldest}. What is missing: \`mill history <kind> <id>\``,
  });

/** Codes of contracts/feed.ts after which coming back would not help. */
const NOT_ALLOWED: readonly unknown[] = [4401, 4403];

function closing({ code, reason }: Frame): Error {
  const why = reason === undefined ? undefined : oneLine(reason);
  if (!NOT_ALLOWED.includes(code)) return new Error(why ?? "closed by the gateway");
  return new Failure("unauthenticated", EXIT.auth, "The token may no longer read this", {
    why,
    fix: "`mill login` with another",
  });
}

/** Frames of one connection, until it ends. */
async function* connection(gateway: Gateway, { io }: AnyCall, wanted: Wanted): AsyncGenerator<Frame> {
  const { url, token } = gateway.target;
  const query = new URLSearchParams({ heartbeatMs: `${HEARTBEAT_MS}` });
  const { from, ...others } = wanted;
  for (const [name, value] of Object.entries(others)) if (value !== undefined) query.set(name, value);
  if (from !== undefined && wanted.after === undefined) query.set("from", from);
  const path = `/v1/organisations/${encodeURIComponent(await gateway.org())}/events?${query}`;
  const silence = new AbortController();
  let watchdog = setTimeout(() => silence.abort(), SILENCE_MS);
  try {
    const response = await fetch(url + path, {
      headers: { accept: "text/event-stream", ...(token === undefined ? {} : { authorization: `Bearer ${token}` }) },
      signal: AbortSignal.any([io.interrupted, silence.signal]),
      redirect: "manual",
    });
    if (response.status !== 200 || response.body === null) {
      const text = await response.text();
      // Not now, but later: as a lost connection.
      if (response.status === 503 || response.status === 429) throw new Error(`${response.status}`);
      bodyOf({ status: response.status, headers: response.headers, text });
      throw new Failure("no-gateway", EXIT.failure, "The answer is no stream of events", {
        fix: "Look at the address",
      });
    }
    for await (const { event, id, data } of serverSentEvents(response.body)) {
      clearTimeout(watchdog);
      watchdog = setTimeout(() => silence.abort(), SILENCE_MS);
      const parsed = JSON.parse(data);
      const position = id === undefined ? {} : { position: id };
      if (event.startsWith("millrace.")) yield { type: "event", ...position, event: parsed };
      else yield { ...parsed, ...position, type: event };
    }
  } finally {
    clearTimeout(watchdog);
    silence.abort();
  }
}

export interface ServerSentEvent {
  readonly event: string;
  readonly id: string | undefined;
  readonly data: string;
}

/** The events of a stream in `text/event-stream` form. */
export async function* serverSentEvents(body: AsyncIterable<Uint8Array>): AsyncGenerator<ServerSentEvent> {
  const decoder = new TextDecoder();
  let rest = "";
  let fields: { event?: string; id?: string; data: string[] } = { data: [] };
  for await (const chunk of body) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split(/\r?\n/);
    rest = lines.pop() ?? "";
    if (rest.length > LINE_CHARACTERS) throw new Error("a line of the stream is too long");
    for (const line of lines) {
      if (line === "") {
        const { event = "message", id, data } = fields;
        if (data.length > 0) yield { event, id, data: data.join("\n") };
        fields = { data: [] };
        continue;
      }
      const [, name, value = ""] = /^([^:]*)(?:: ?(.*))?$/s.exec(line) ?? [];
      if (name === "data") fields.data.push(value);
      else if (name === "event" || name === "id") fields[name] = value;
    }
  }
}

/** The position of now: what comes after it has not been seen by anything read from now on. */
export async function headOf(gateway: Gateway, call: AnyCall): Promise<string | undefined> {
  for await (const frame of frames(gateway, call, { from: "now" })) if (frame.type === "hello") return frame.position;
  return undefined;
}

/** The entities of a kind (`work.item`), or the one, that change after a position; with the position of each change. */
export async function* changes(
  gateway: Gateway,
  call: AnyCall,
  { kind, ...rest }: { readonly kind: string; readonly id?: string; readonly after: string | undefined },
): AsyncGenerator<{ readonly id: string; readonly position: string | undefined }> {
  const dot = kind.indexOf(".");
  const wanted = { context: kind.slice(0, dot), kind: kind.slice(dot + 1), from: "now", ...rest };
  for await (const { type, event, position } of frames(gateway, call, wanted)) {
    if (type === "event" && event !== undefined) yield { id: event.source.split("/").at(-1) ?? "", position };
  }
}

type Of<T extends "string" | "strings" | "integer" | "boolean", K extends string> = {
  readonly [P in K]: { readonly type: T; readonly summary: string };
};
type TailCall = Call<
  Of<"string", "from" | "after"> &
    Of<"strings", "in" | "kind" | "id" | "type"> &
    Of<"integer", "limit"> &
    Of<"boolean", "until-now">,
  None
>;

export async function tail(call: TailCall): Promise<number> {
  const { io, flags } = call;
  if (flags.from !== undefined && flags.after !== undefined) throw usage("--from and --after exclude each other");
  const kinds = flags.kind.map((word) => kindNamed(word).kind);
  const listed = (name: string, values: readonly string[]) => (values.length === 0 ? {} : { [name]: values.join(",") });
  const wanted: Wanted = {
    ...listed("context", flags.in),
    ...listed("kind", [...new Set(kinds.map((kind) => kind.slice(kind.indexOf(".") + 1)))]),
    ...listed("id", flags.id),
    ...listed("type", flags.type),
    from: flags.from ?? "now",
    after: flags.after,
  };
  const late = flags.timeout === undefined ? undefined : AbortSignal.timeout(flags.timeout * 1000);
  const bounded = {
    ...call,
    io: late === undefined ? io : { ...io, interrupted: AbortSignal.any([io.interrupted, late]) },
  };
  let position = flags.after;
  let shown = 0;
  try {
    for await (const frame of frames(gatewayOf(bounded), bounded, wanted)) {
      if (frame.type === "event" && frame.event !== undefined) {
        await print(bounded, frame.event);
        shown++;
      }
      position = frame.position ?? position;
      if (frame.type === "caught-up" && flags["until-now"]) break;
      if (flags.limit !== undefined && shown >= flags.limit) break;
    }
  } catch (error) {
    if (late?.aborted && !io.interrupted.aborted) throw timedOut("mill events tail", flags.timeout!);
    throw error;
  } finally {
    if (position !== undefined) io.err(`position: ${position}\n`);
  }
  return EXIT.ok;
}

/** One event on one line. */
async function print(call: AnyCall, event: CloudEvent): Promise<void> {
  const { format } = styleOf(call);
  if (format === "json" || format === "jsonl") return call.io.out(`${JSON.stringify(event)}\n`);
  if (format === "name") return call.io.out(`${event.id}\n`);
  const [context, kind, id] = event.source.split("/").slice(3);
  const type = event.type.split(".")[2] ?? event.type;
  const actor = event.actor.split(":").slice(2).join(":");
  const data = JSON.stringify(event.data);
  const line = `${event.time}  ${actor}  ${context}/${kind}  ${id}  ${type}  ${data === "{}" ? "" : data}`;
  return call.io.out(`${oneLine(line)}\n`);
}
