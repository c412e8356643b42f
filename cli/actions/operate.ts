/** Search, dead letters and projections. */
import { confirm } from "../ask.ts";
import { Failure, usage } from "../failure.ts";
import { gatewayOf, sleep } from "../gateway.ts";
import { printList } from "../output.ts";
import { styleOf } from "../run.ts";
import { type AnyCall, type Call, EXIT, type None } from "../table.ts";
import { listAll } from "./read.ts";

type Arg<K extends string> = { readonly [P in K]: { readonly summary: string } };
type Text<K extends string> = { readonly [P in K]: { readonly type: "string"; readonly summary: string } };

export async function search(
  call: Call<
    Text<"in" | "kind"> & { readonly limit: { readonly type: "integer"; readonly summary: string } },
    { readonly words: { readonly summary: string; readonly many: true } }
  >,
): Promise<void> {
  const { io, args, flags } = call;
  const query = { q: args.words.join(" "), context: flags.in, kind: flags.kind };
  const limit = flags.limit ?? 50;
  const { items, more } = await listAll(gatewayOf(call), "search", { query }, limit);
  await printList(
    io,
    styleOf(call),
    items,
    [
      { title: "kind", value: (hit) => hit.kind },
      { title: "id", value: (hit) => hit.id },
      { title: "title", value: (hit) => hit.title },
      { title: "where", value: (hit) => hit.excerpt },
    ],
    (hit) => hit.id,
  );
  if (items.length === 0) io.err("Nothing is found\n");
  if (more) io.err(`There are more: --limit ${Math.min(100_000, limit * 4)}\n`);
}

export async function retryDeadLetter(call: Call<None, Arg<"id">>): Promise<number> {
  const { id } = call.args;
  const { outcome, letter } = await gatewayOf(call).call("retryDeadLetter", { params: { id } });
  if (outcome === "failed") {
    throw new Failure("failed-again", EXIT.failure, `${id} failed again`, {
      why: letter?.cause,
      fix: "Mend the cause, and retry; or leave it out for good: `mill dead-letters drop`",
    });
  }
  call.io.err(outcome === "recovered" ? `${id} is handled\n` : `${id} will be tried when its handler is back\n`);
  return EXIT.ok;
}

export async function dropDeadLetter(call: Call<Text<"why">, Arg<"id">>): Promise<void> {
  const { args, flags } = call;
  if (flags.why === undefined) throw usage("--why is needed: the reason stays with the record of it");
  await confirm(call, `Drop ${args.id}: its entity is left out for good`, args.id);
  await gatewayOf(call).call("dropDeadLetter", { params: { id: args.id }, query: { why: flags.why } });
  call.io.err(`Dropped ${args.id}\n`);
}

export async function rotateKeys(call: AnyCall): Promise<number> {
  const { rewrapped, current, failed, failures } = await gatewayOf(call).call("rotateMasterKey", {});
  call.io.err(`${rewrapped} wrapped anew, ${current} were so already, ${failures} failed\n`);
  await printList(
    call.io,
    styleOf(call),
    failed,
    [
      { title: "organisation", value: (row) => row.organisation },
      { title: "subject", value: (row) => row.subject },
      { title: "why", value: (row) => row.reason },
    ],
    (row) => row.subject,
  );
  return failures === 0 ? EXIT.ok : EXIT.failure;
}

export async function projections(call: AnyCall): Promise<void> {
  const { items } = await gatewayOf(call).call("listProjections", {});
  await printList(
    call.io,
    styleOf(call),
    items,
    [
      { title: "name", value: (row) => row.name },
      { title: "context", value: (row) => row.context },
      { title: "build", value: (row) => row.build },
      { title: "state", value: (row) => row.state },
      { title: "shown", value: (row) => (row.shown ? "yes" : "") },
      { title: "position", value: (row) => row.seq },
      { title: "lag", value: (row) => row.lag },
      { title: "why", value: (row) => row.stoppedReason },
    ],
    (row) => row.name,
  );
}

export async function rebuild(
  call: Call<{ readonly wait: { readonly type: "boolean"; readonly summary: string } }, Arg<"name">>,
): Promise<void> {
  const { io, args, flags } = call;
  const gateway = gatewayOf(call);
  const { builds } = await gateway.call("rebuildProjection", { params: { name: args.name } });
  const columns = [
    { title: "context", value: (row: (typeof builds)[number]) => row.context },
    { title: "build", value: (row: (typeof builds)[number]) => row.build },
    { title: "asked", value: (row: (typeof builds)[number]) => row.asked },
  ];
  await printList(io, styleOf(call), builds, columns, (row) => `${row.context}:${row.build}`);
  if (!flags.wait) return;
  const seconds = flags.timeout ?? 600;
  const until = performance.now() + seconds * 1000;
  for (;;) {
    const { items } = await gateway.call("listProjections", {});
    const isShown = builds.every(({ context, build }) =>
      items.some((row) => row.name === args.name && row.context === context && row.build === build && row.shown),
    );
    if (isShown) break;
    if (performance.now() > until) {
      throw new Failure("timeout", EXIT.timeout, `It is not switched after ${seconds} s`, {
        fix: "It goes on: `mill projections list`",
      });
    }
    await sleep(300, io.interrupted);
  }
  io.err("Switched\n");
}
