/** Lists and single entities of any kind, with watching and waiting. */
import type { Listing, Showing } from "../commands/entity.ts";
import { flagOf } from "../commands/entity.ts";
import { usage } from "../failure.ts";
import { type Gateway, gatewayOf } from "../gateway.ts";
import { COLLECTIONS, OPERATIONS } from "../operations.ts";
import { printList, printOne, table } from "../output.ts";
import { styleOf } from "../run.ts";
import type { AnyCall } from "../table.ts";
import { changes, headOf } from "./events.ts";
import { listAll, waitFor } from "./read.ts";

type Given = Readonly<Record<string, string | number | boolean | readonly string[] | undefined>>;
type EntityCall = AnyCall & { readonly flags: Given; readonly args: Readonly<Record<string, string>> };

// biome-ignore lint/suspicious/noExplicitAny: rows are whatever the named operation answers
type Row = any;

/** The query of a list from the flags: every filter the contract knows, by the name of its flag. */
function queryOf({ operation, usual }: Listing, flags: Given): Record<string, string | undefined> {
  const query: Record<string, string | undefined> = { ...usual };
  for (const name of Object.keys(OPERATIONS[operation].query)) {
    const value = name === "q" ? flags.search : flags[flagOf(name)];
    if (name !== "limit" && name !== "cursor" && name !== "fields" && typeof value === "string") query[name] = value;
  }
  return query;
}

export async function list(call: EntityCall, spec: Listing): Promise<void> {
  const { io, flags } = call;
  const gateway = gatewayOf(call);
  const limit = (flags.limit as number | undefined) ?? 50;
  // Watching begins before the list is read: what changes meanwhile is shown twice rather than not at all.
  const position = flags.watch ? await headOf(gateway, call) : undefined;
  const request = { query: queryOf(spec, flags) };
  const { items, more } = await listAll(gateway, spec.operation as never, request, limit);
  const style = styleOf(call);
  await printList(
    io,
    flags.watch && style.format === "json" ? { ...style, format: "jsonl" } : style,
    items,
    spec.shown,
    spec.nameOf,
  );
  if (items.length === 0) io.err(`${spec.nothing}\n`);
  if (more) io.err(`There are more: --limit ${Math.min(100_000, limit * 4)}\n`);
  if (flags.watch) await watchList(call, spec, gateway, position);
}

/** After the list, a line for each entity that changes, as it is then. */
async function watchList(
  call: EntityCall,
  spec: Listing,
  gateway: Gateway,
  position: string | undefined,
): Promise<void> {
  const { io } = call;
  const style = styleOf(call);
  for await (const { id, position: seen } of changes(gateway, call, {
    kind: kindOfCollection(spec.collection!),
    after: position,
  })) {
    const entity = await readOrUndefined(gateway, spec.collection!, id, seen);
    if (entity === undefined) {
      io.err(`${id} is gone\n`);
      continue;
    }
    if (style.format === "table") await io.out(withoutHead(table([entity], spec.shown, style)));
    else await io.out(`${style.format === "name" ? spec.nameOf(entity) : JSON.stringify(entity)}\n`);
  }
}

const withoutHead = (text: string): string => text.slice(text.indexOf("\n") + 1);

export async function show(call: EntityCall, spec: Showing): Promise<void> {
  const { io, flags, args } = call;
  const reference = args[spec.argument]!;
  const gateway = gatewayOf(call);
  const isOrganisation = OPERATIONS[spec.operation].path.endsWith("/:org");
  const params: Record<string, string> = isOrganisation ? { org: reference } : { id: reference };
  const at = flags.at as string | undefined;
  if (at !== undefined && (flags.watch || flags.wait))
    throw usage("The past does not change: --at without --watch and --wait");
  const position = flags.watch ? await headOf(gateway, call) : undefined;
  const read = async () => (await gateway.callAny(spec.operation, { params, query: { at } })) as Row;
  const entity = flags.wait === undefined ? await read() : await waitFor<Row>(call, flags.wait as string, read);
  if (entity === undefined) return void io.err(`${reference} is gone\n`);
  const people = await spec.people(entity);
  const nameOf = (shown: Row) => shown.spec.name ?? shown.id;
  await printOne(io, styleOf(call), entity, () => people, nameOf);
  if (!flags.watch) return;
  const wanted = { kind: kindOfCollection(spec.collection), id: entity.id as string, after: position };
  for await (const { position: seen } of changes(gateway, call, wanted)) {
    const now = await readOrUndefined(gateway, spec.collection, reference, seen);
    if (now === undefined) return void io.err(`${reference} is gone\n`);
    const text = await spec.people(now);
    await printOne(io, styleOf(call), now, () => `\n${text}`, nameOf);
  }
}

/** `work.item` of `work-items`. */
export const kindOfCollection = (collection: string): string =>
  COLLECTIONS.find((known) => known.collection === collection)?.kind ?? collection;

/** The entity as it is when everything up to the position has been seen. */
async function readOrUndefined(
  gateway: Gateway,
  collection: string,
  reference: string,
  position: string | undefined,
): Promise<Row | undefined> {
  const base = "/v1/organisations";
  const path =
    collection === "organisations" ? base : `${base}/${encodeURIComponent(await gateway.org())}/${collection}`;
  const answer = await gateway.raw({
    method: "GET",
    path: `${path}/${encodeURIComponent(reference)}`,
    ...(position === undefined ? {} : { headers: { "millrace-position": position } }),
  });
  return answer.status === 200 ? JSON.parse(answer.text) : undefined;
}
