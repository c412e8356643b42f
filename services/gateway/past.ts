/**
 * An entity as it is, as it was, and what differs between two moments: from the log alone, so always current, and there when
 * PostgreSQL is not.
 */
import { WAIT } from "@millrace/contracts/http.ts";
import { decodePosition } from "@millrace/contracts/position.ts";
import { NotFound } from "@millrace/contracts/problems.ts";
import type { Kind } from "@millrace/domain/kind.ts";
import type { Loaded, Until } from "@millrace/eventlog/aggregate.ts";
import { stillMay } from "./access.ts";
import type { Asked } from "./asked.ts";
import { type Handle, handle, invalidInput, json, positionOf, type Request } from "./command.ts";
import { fail } from "./failures.ts";
import { type Gateway, resolve } from "./gateway.ts";
import { conditionOf } from "./waits.ts";

/** Handlers of `GET …/{id}` and `GET …/{id}/diff`. */
export function past<S>(gateway: Gateway, kind: Kind<S>) {
  const idOf = (request: Request, asked: Asked): Promise<string> | string => {
    const { id } = request.params as { id?: string };
    return id === undefined ? asked.organisation!.id : resolve(gateway, kind, asked.organisation!.id, id);
  };
  const there = (loaded: Loaded<S>, asked: Asked): Loaded<S> => {
    const visible = loaded.organisation === asked.organisation!.id && kind.exists(loaded.state);
    return visible ? loaded : fail(new NotFound({ detail: `There is no such ${kind.kind}.` }));
  };
  return {
    get: <R extends Request>(): Handle<R> =>
      handle(gateway, async (request, asked) => {
        const id = await idOf(request, asked);
        const { at, wait, timeout = WAIT.usualMs } = (request.query ?? {}) as ReadQuery;
        if (at !== undefined && wait !== undefined) {
          fail(invalidInput("/query/wait", "cannot be asked of the past", "Leave out `at`, or `wait`."));
        }
        const waiting =
          wait === undefined ? undefined : await waitFor(gateway, kind, id, { wait, timeout }, there, asked);
        if (waiting !== undefined) stillMay(gateway, asked);
        const loaded = there(
          waiting !== undefined
            ? waiting.loaded
            : at === undefined
              ? await gateway.log.aggregates.load(kind, id)
              : await gateway.log.aggregates.loadUntil(kind, id, momentOf(at)),
          asked,
        );
        return json(kind.represent(loaded.state), {
          headers: {
            etag: `"${kind.generation(loaded.state)}"`,
            "millrace-position": positionOf(kind.context, loaded.seq),
            // What `wait=version>=n` counts from.
            "millrace-version": `${loaded.version}`,
            ...(waiting === undefined ? {} : { "millrace-wait": waiting.met ? "met" : "timeout" }),
          },
        });
      }),

    diff: <R extends Request>(): Handle<R> =>
      handle(gateway, async (request, asked) => {
        const id = await idOf(request, asked);
        const { from, to } = request.query as { from: string; to?: string };
        const [before, after] = await Promise.all([
          gateway.log.aggregates.loadUntil(kind, id, momentOf(from)),
          to === undefined
            ? gateway.log.aggregates.load(kind, id)
            : gateway.log.aggregates.loadUntil(kind, id, momentOf(to)),
        ]);
        // It is enough that one of the two moments shows it: the other is compared as nothing.
        const shown = [before, after].map((loaded) =>
          loaded.organisation === asked.organisation!.id && kind.exists(loaded.state)
            ? kind.represent(loaded.state)
            : undefined,
        );
        if (shown[0] === undefined && shown[1] === undefined) there(after, asked);
        return json(
          { changes: differences(shown[0] ?? {}, shown[1] ?? {}) },
          { headers: { "millrace-position": positionOf(kind.context, Math.max(before.seq, after.seq)) } },
        );
      }),
  };
}

interface ReadQuery {
  readonly at?: string;
  readonly wait?: string;
  readonly timeout?: number;
}

/** Waits for an entity, which must be there, and the asker's, to begin with. */
async function waitFor<S>(
  { log, waits }: Gateway,
  kind: Kind<S>,
  id: string,
  { wait, timeout }: { readonly wait: string; readonly timeout: number },
  there: (loaded: Loaded<S>, asked: Asked) => Loaded<S>,
  asked: Asked,
): Promise<{ readonly loaded: Loaded<S>; readonly met: boolean }> {
  const condition = conditionOf(kind, wait);
  there(await log.aggregates.load(kind, id), asked);
  return waits.until(kind, id, condition, timeout);
}

/** `v3` or a time, as `At` has let it in. */
const momentOf = (text: string): Until =>
  text.startsWith("v") ? { version: Number(text.slice(1)) } : { time: Date.parse(text) };

export interface Changed {
  readonly pointer: string;
  readonly from?: unknown;
  readonly to?: unknown;
}

/** Where two JSON values differ: objects by member, arrays by place, all else as a whole. */
export function differences(from: unknown, to: unknown, pointer = ""): Changed[] {
  if (Object.is(from, to)) return [];
  if (Array.isArray(from) && Array.isArray(to)) {
    const length = Math.max(from.length, to.length);
    return Array.from({ length }, (_, i) => member(from, to, i, i < from.length, i < to.length, pointer)).flat();
  }
  if (isObject(from) && isObject(to)) {
    const names = [...new Set([...Object.keys(from), ...Object.keys(to)])];
    return names.flatMap((name) => member(from, to, name, Object.hasOwn(from, name), Object.hasOwn(to, name), pointer));
  }
  return [{ pointer, from, to }];
}

function member(from: any, to: any, key: string | number, before: boolean, after: boolean, pointer: string): Changed[] {
  const place = `${pointer}/${String(key).replaceAll("~", "~0").replaceAll("/", "~1")}`;
  if (!before) return to[key] === undefined ? [] : [{ pointer: place, to: to[key] }];
  if (!after) return from[key] === undefined ? [] : [{ pointer: place, from: from[key] }];
  return differences(from[key], to[key], place);
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** `Millrace-Position` of a query, decoded. @throws Failed (invalid-input) */
export function positionAsked(request: Request) {
  const token = (request.headers as Record<string, string> | undefined)?.["millrace-position"];
  if (token === undefined) return undefined;
  return (
    decodePosition(token) ??
    fail(invalidInput("/headers/millrace-position", "is no position", "Send one exactly as an answer gave it."))
  );
}
