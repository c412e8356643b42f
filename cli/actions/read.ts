/** What reading commands share: the pages of a list, watching, waiting for a condition. */
import { Failure, usage } from "../failure.ts";
import { type Gateway, sleep } from "../gateway.ts";
import { OPERATIONS } from "../operations.ts";
import { type AnyCall, EXIT } from "../table.ts";
import type { Answer, OperationName } from "../typed.ts";

type ListName = {
  [N in OperationName]: Answer<N> extends { readonly items: ReadonlyArray<unknown> } ? N : never;
}[OperationName];
export type ItemOf<N extends ListName> = Answer<N> extends { readonly items: ReadonlyArray<infer I> } ? I : never;

/** Items of one request; the API's most. */
const PAGE = 200;

/**
 * All items of a list up to `limit`, page by page.
 * @param onPage prints a page as it comes; without it they are gathered
 */
export async function listAll<N extends ListName>(
  gateway: Gateway,
  name: N,
  request: { readonly params?: Record<string, string>; readonly query?: Record<string, string | number | undefined> },
  limit: number,
): Promise<{ items: ItemOf<N>[]; more: boolean }> {
  const items: ItemOf<N>[] = [];
  let cursor: string | undefined;
  do {
    const page = (await gateway.callAny(name, {
      ...request,
      query: {
        ...request.query,
        ...(takesQuery(name, "limit") ? { limit: Math.min(PAGE, limit - items.length), cursor } : {}),
      },
    })) as { items: ItemOf<N>[]; nextCursor?: string };
    items.push(...page.items);
    cursor = page.nextCursor;
  } while (cursor !== undefined && items.length < limit);
  return { items: items.slice(0, limit), more: cursor !== undefined || items.length > limit };
}

/** Whether an operation's list can be filtered by a field: told by the contract. */
export const takesQuery = (name: OperationName, field: string): boolean => Object.hasOwn(OPERATIONS[name].query, field);

type Entity = Readonly<Record<string, unknown>>;

/** `state=done` (looked for in status, spec and the entity, dots go deeper), `exists`, `gone`. @throws Failure */
export function conditionOf(text: string): (entity: Entity | undefined) => boolean {
  if (text === "exists") return (entity) => entity !== undefined;
  if (text === "gone") return (entity) => entity === undefined;
  const match = /^([a-zA-Z][a-zA-Z0-9.]*)=(.*)$/.exec(text);
  if (match === null) throw usage(`"${text}" is no condition`, "Write `state=done`, `exists` or `gone`");
  const [, path, wanted] = match as unknown as [string, string, string];
  return (entity) => {
    if (entity === undefined) return false;
    const found = [entity.status, entity.spec, entity]
      .map((part) => path.split(".").reduce<unknown>((at, key) => (at as Entity | undefined)?.[key], part))
      .find((value) => value !== undefined);
    return Array.isArray(found) ? found.includes(wanted) : `${found}` === wanted;
  };
}

/**
 * Reads until the condition holds.
 * @throws Failure 124 when it does not within --timeout (default a minute)
 */
export async function waitFor<E extends Entity>(
  call: AnyCall,
  condition: string,
  read: () => Promise<E>,
): Promise<E | undefined> {
  const holds = conditionOf(condition);
  const seconds = call.flags.timeout ?? 60;
  const until = performance.now() + seconds * 1000;
  for (let pause = 100; ; pause = Math.min(1000, pause * 1.5)) {
    const entity = await orUndefined(read);
    if (holds(entity)) return entity;
    if (performance.now() + pause > until) {
      throw new Failure("timeout", EXIT.timeout, `It is not ${condition} after ${seconds} s`, {
        fix: "Look at it without --wait, or give it longer: --timeout",
      });
    }
    await sleep(pause, call.io.interrupted);
  }
}

async function orUndefined<E>(read: () => Promise<E>): Promise<E | undefined> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof Failure && error.exit === EXIT.notFound) return undefined;
    throw error;
  }
}
