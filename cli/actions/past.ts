/** What was: the history of an entity, the entity as it was, the difference of two moments. */
import { usage } from "../failure.ts";
import { gatewayOf } from "../gateway.ts";
import { oneLine } from "../io.ts";
import { kindNamed, operationOn, paramsOf } from "../kinds.ts";
import { outline, printList, printOne } from "../output.ts";
import { styleOf } from "../run.ts";
import { type Call, EXIT } from "../table.ts";
import type { Answer } from "../typed.ts";
import { listAll, waitFor } from "./read.ts";

type Text<K extends string> = { readonly [P in K]: { readonly type: "string"; readonly summary: string } };
type Entity = { readonly kind: { readonly summary: string }; readonly id: { readonly summary: string } };

type Difference = Answer<"diffToken">["changes"][number];

export async function history(
  call: Call<{ readonly limit: { readonly type: "integer"; readonly summary: string } }, Entity>,
): Promise<void> {
  const { io, args, flags } = call;
  const kind = kindNamed(args.kind);
  const gateway = gatewayOf(call);
  // All histories answer alike.
  const operation = operationOn(kind, "/history") as "historyOfToken";
  // The history of an organisation itself is in the audit log, among that of all that belongs to it.
  const only = kind.collection === "organisations" ? { context: "identity", kind: "organisation" } : {};
  const limit = flags.limit ?? 200;
  const { items, more } = await listAll(gateway, operation, { params: paramsOf(kind, args.id), query: only }, limit);
  await printList(
    io,
    styleOf(call),
    items,
    [
      { title: "", value: (entry) => `v${entry.version}` },
      { title: "when", value: (entry) => entry.at },
      { title: "who", value: (entry) => entry.actor.name },
      { title: "what", value: (entry) => entry.sentence },
    ],
    (entry) => `v${entry.version}`,
  );
  if (more) io.err(`There is more: --limit ${limit * 4}\n`);
}

export async function show(call: Call<Text<"at" | "wait">, Entity>): Promise<void> {
  const { args, flags } = call;
  if (flags.at !== undefined && flags.wait !== undefined) throw usage("The past does not change: --at without --wait");
  const kind = kindNamed(args.kind);
  const gateway = gatewayOf(call);
  const operation = operationOn(kind, "");
  const read = async () =>
    (await gateway.callAny(operation, { params: paramsOf(kind, args.id), query: { at: flags.at } })) as Record<
      string,
      unknown
    >;
  const entity = flags.wait === undefined ? await read() : await waitFor(call, flags.wait, read);
  if (entity === undefined) return void call.io.err(`${args.id} is gone\n`);
  await printOne(call.io, styleOf(call), entity, outline, (shown) => `${shown.id}`);
}

export async function diff(call: Call<Text<"from" | "to">, Entity>): Promise<number> {
  const { io, args, flags } = call;
  if (flags.from === undefined) throw usage("--from is needed", "A moment: --from v1, or --from 2026-11-21T08:00:00Z");
  const kind = kindNamed(args.kind);
  const { changes } = (await gatewayOf(call).callAny(operationOn(kind, "/diff"), {
    params: paramsOf(kind, args.id),
    query: { from: flags.from, to: flags.to },
  })) as { changes: Difference[] };
  const style = styleOf(call);
  if (style.format === "table") await io.out(changes.map((change) => patchLines(change)).join(""));
  else await printList(io, style, changes, [], (change) => change.pointer);
  if (changes.length === 0) io.err("No difference\n");
  return changes.length === 0 ? EXIT.ok : EXIT.failure;
}

/** As a patch reads: what was with a minus, what is with a plus. */
function patchLines({ pointer, from, to }: Difference): string {
  const line = (sign: string, value: unknown) =>
    value === undefined ? [] : [`  ${sign} ${oneLine(typeof value === "string" ? value : JSON.stringify(value))}`];
  return `${[oneLine(pointer), ...line("-", from), ...line("+", to)].join("\n")}\n`;
}
