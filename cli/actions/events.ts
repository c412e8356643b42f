/** Events as they come. */
import { Failure, timedOut, usage } from "../failure.ts";
import { followed, HEARTBEAT_MS } from "../follow.ts";
import { type Gateway, gatewayOf } from "../gateway.ts";
import { oneLine } from "../io.ts";
import { kindNamed } from "../kinds.ts";
import { styleOf } from "../run.ts";
import { type AnyCall, type Call, EXIT, type None } from "../table.ts";

/** What the gateway sends (contracts/feed.ts), as far as it is looked at here. */
interface Frame {
  readonly type: "event" | "hello" | "caught-up" | "position" | "gap";
  readonly position?: string;
  readonly event?: CloudEvent;
  readonly oldest?: string;
  readonly detail?: string;
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

/**
 * Frames without end.
 * @throws Failure when the gateway refuses, at a gap, or when interrupted
 */
export async function* frames(gateway: Gateway, call: AnyCall, wanted: Wanted): AsyncGenerator<Frame> {
  const org = encodeURIComponent(await gateway.org());
  const { from, after: first, ...others } = wanted;
  const path = (position = first) => {
    const query = new URLSearchParams({ heartbeatMs: `${HEARTBEAT_MS}` });
    for (const [name, value] of Object.entries({ ...others, after: position }))
      if (value !== undefined) query.set(name, value);
    if (from !== undefined && position === undefined) query.set("from", from);
    return `/v1/organisations/${org}/events?${query}`;
  };
  for await (const { event, id, data } of followed(gateway, call, path)) {
    const parsed = JSON.parse(data);
    const position = id === undefined ? {} : { position: id };
    const isEvent = event.startsWith("millrace.");
    const frame: Frame = isEvent
      ? { type: "event", ...position, event: parsed }
      : { ...parsed, ...position, type: event };
    if (frame.type === "gap") throw gap(frame);
    yield frame;
  }
}

const gap = ({ oldest, detail }: Frame): Failure =>
  new Failure("gap", EXIT.conflict, "What came after this position is no longer kept in the feed", {
    why: detail,
    fix: `Go on with the oldest that is left: --after ${oldest}. What is missing: \`mill history <kind> <id>\``,
  });

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
