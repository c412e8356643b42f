/** Work items: open, change, move, and what belongs to one. */
import { confirm, textOrStdin } from "../ask.ts";
import { Failure, usage } from "../failure.ts";
import { type Gateway, gatewayOf } from "../gateway.ts";
import { oneLine, plain } from "../io.ts";
import { facts, printList, printOne } from "../output.ts";
import { styleOf } from "../run.ts";
import { type AnyCall, type Call, EXIT, type Flag, type None } from "../table.ts";
import type { Answer, OperationName, RequestOf } from "../typed.ts";
import { waitFor } from "./read.ts";

type Item = Answer<"getItem">;
type Line = Item["checklist"][number];

type Of<T extends Flag["type"], K extends string> = {
  readonly [P in K]: { readonly type: T; readonly summary: string };
};
type Seen = Of<"integer", "seen">;
type Args<K extends string> = { readonly [P in K]: { readonly summary: string } };
type Many<K extends string> = { readonly [P in K]: { readonly summary: string; readonly many: true } };

/** Operations that act on one item and answer with it. */
type Act = {
  [N in OperationName]: Item extends Answer<N> ? (Answer<N> extends Item ? N : never) : never;
}[OperationName];

const indented = (text: string): string =>
  plain(text)
    .trimEnd()
    .split("\n")
    .map((line) => `  ${line}`.trimEnd())
    .join("\n");

const lineText = (line: Line, number: number): string => {
  const by = line.done && line.doneBy ? `  (${line.doneBy.name}, ${line.doneAt})` : "";
  return `  ${number}. [${line.done ? "x" : " "}] ${oneLine(line.text)}${line.required ? "" : "  (optional)"}${by}`;
};

const linkText = ({ kind, id, relation, commit }: Item["spec"]["links"][number]): string =>
  `${relation} ${kind} ${id}${commit === undefined ? "" : ` at ${commit.slice(0, 12)}`}`;

/** An item for people, whole. */
export function itemText(item: Item): string {
  const { spec, status } = item;
  const parts = [
    facts([
      ["title", spec.title],
      ["id", item.id],
      ["type", spec.type],
      ["state", `${status.state} (${status.group})`],
      ["assignees", spec.assignees],
      ["labels", spec.labels],
      ["priority", spec.priority],
      ["due", spec.dueOn],
      ["links", spec.links.map(linkText)],
      ["generation", item.generation],
      ["opened", `${item.createdAt} by ${item.createdBy.name}`],
      ["changed", item.updatedAt],
      ["done", status.completedAt],
    ]),
  ];
  if (spec.description !== "") parts.push(`description\n${indented(spec.description)}\n`);
  if (item.checklist.length > 0) {
    parts.push(`checklist\n${item.checklist.map((line, index) => lineText(line, index + 1)).join("\n")}\n`);
  }
  if (spec.notes !== "") parts.push(`notes\n${indented(spec.notes)}\n`);
  for (const waiver of item.waivers) {
    parts.push(`waived ${waiver.gate}, ${waiver.at} by ${oneLine(waiver.by.name)}\n${indented(waiver.reason)}\n`);
  }
  for (const comment of item.comments) {
    parts.push(`${comment.createdAt} ${oneLine(comment.author.name)} wrote\n${indented(comment.text)}\n`);
  }
  return parts.join("\n");
}

/** After a change: which item, and how it stands. */
const brief = ({ id, spec, status }: Item): string => `${id}  ${status.state}  ${oneLine(spec.title)}\n`;

const print = (call: AnyCall, item: Item) => printOne(call.io, styleOf(call), item, brief, ({ id }) => id);

async function act<N extends Act>(call: AnyCall, operation: N, request: RequestOf<N>): Promise<Item> {
  const item = (await gatewayOf(call).call(operation, request)) as Item;
  await print(call, item);
  return item;
}

export async function open(
  call: Call<
    Of<"string", "type" | "description" | "notes" | "priority" | "due" | "application" | "commit"> &
      Of<"strings", "assign" | "label">,
    Args<"title">
  >,
): Promise<void> {
  const { args, flags } = call;
  if (flags.description === "-" && flags.notes === "-") throw usage("Standard input can be read once");
  if (flags.commit !== undefined && flags.application === undefined) throw usage("--commit needs --application");
  const commit = flags.commit === undefined ? {} : { commit: flags.commit };
  const item = await act(call, "openItem", {
    payload: {
      type: flags.type ?? "task",
      title: args.title,
      ...(flags.description === undefined ? {} : { description: await textOrStdin(call, flags.description) }),
      ...(flags.notes === undefined ? {} : { notes: await textOrStdin(call, flags.notes) }),
      ...(flags.assign.length === 0 ? {} : { assignees: flags.assign }),
      ...(flags.label.length === 0 ? {} : { labels: flags.label }),
      ...(flags.priority === undefined || flags.priority === "none" ? {} : { priority: flags.priority as never }),
      ...(flags.due === undefined || flags.due === "none" ? {} : { dueOn: flags.due }),
      ...(flags.application === undefined
        ? {}
        : { links: [{ kind: "application", id: flags.application, relation: "changes", ...commit }] }),
    },
  });
  call.io.err(`Next: mill work show ${item.id}\n`);
}

/** `none` takes it off. */
const orOff = (text: string): string | null => (text === "none" ? null : text);

export async function change(
  call: Call<Of<"string", "title" | "description" | "priority" | "due"> & Seen, Args<"item">>,
): Promise<void> {
  const { args, flags } = call;
  const payload = {
    ...(flags.title === undefined ? {} : { title: flags.title }),
    ...(flags.description === undefined ? {} : { description: await textOrStdin(call, flags.description) }),
    ...(flags.priority === undefined ? {} : { priority: orOff(flags.priority) as never }),
    ...(flags.due === undefined ? {} : { dueOn: orOff(flags.due) }),
  };
  if (Object.keys(payload).length === 0) throw usage("Nothing is to be changed", "Say what: --title, --due …");
  await act(call, "changeItem", { params: { id: args.item }, seen: flags.seen, payload });
}

export async function move(call: Call<Seen & Of<"string", "wait">, Args<"item" | "state">>): Promise<void> {
  const { args, flags } = call;
  const params = { id: args.item };
  await act(call, "transitionItem", { params, seen: flags.seen, payload: { to: args.state } });
  if (flags.wait === undefined) return;
  const gateway = gatewayOf(call);
  await waitFor(call, flags.wait, () => gateway.call("getItem", { params }));
}

type Move = Answer<"gatesOfItem">["transitions"][number];

/** Why a move is not allowed, gate by gate, and what would open each. */
const shutText = ({ to, gates: all }: Move): string =>
  all
    .filter(({ ok }) => !ok)
    .map(
      ({ gate, reason, fix }) =>
        `\n${to}: ${gate} is shut\n  why: ${oneLine(reason)}\n${fix ? `  fix: ${oneLine(fix)}\n` : ""}`,
    )
    .join("");

export async function gates(call: Call<Of<"string", "to">, Args<"item">>): Promise<number> {
  const { io, args, flags } = call;
  const answer = await gatewayOf(call).call("gatesOfItem", { params: { id: args.item } });
  const moves = answer.transitions.filter(({ to }) => flags.to === undefined || to === flags.to);
  if (moves.length === 0 && flags.to !== undefined) {
    const all = answer.transitions.map(({ to }) => to).join(", ");
    throw new Failure("no-such-move", EXIT.refused, `From its state it cannot move to "${flags.to}"`, {
      fix: all === "" ? "It can go nowhere from here" : `It can go to: ${all}`,
    });
  }
  const style = styleOf(call);
  const shown = [
    { title: "to", value: ({ to }: Move) => to },
    { title: "as", value: ({ title }: Move) => title },
    { title: "allowed", value: ({ allowed }: Move) => (allowed ? "yes" : "no") },
    { title: "gates", value: (move: Move) => move.gates.map(({ gate, ok }) => `${gate}${ok ? "" : " (shut)"}`) },
  ];
  await printList(io, style, moves, shown, ({ to }) => to);
  if (style.format === "table")
    for (const move of moves.filter(({ allowed }) => !allowed)) await io.out(shutText(move));
  return flags.to !== undefined && moves.some(({ allowed }) => !allowed) ? EXIT.refused : EXIT.ok;
}

export async function waive(call: Call<Of<"string", "reason"> & Seen, Args<"item" | "gate">>): Promise<void> {
  const { args, flags } = call;
  if (flags.reason === undefined) throw usage("--reason is needed: it stays with the item for ever");
  await act(call, "waiveGate", {
    params: { id: args.item },
    seen: flags.seen,
    payload: { gate: args.gate as never, reason: flags.reason },
  });
}

export async function remove(call: Call<Seen, Args<"item">>): Promise<void> {
  const { args, flags } = call;
  await confirm(call, `Delete the work item ${args.item}`, args.item);
  await gatewayOf(call).call("deleteItem", { params: { id: args.item }, seen: flags.seen });
  call.io.err(`Deleted ${args.item}; \`mill history item ${args.item}\` still tells of it\n`);
}

type Removing = Seen & Of<"boolean", "remove">;

export async function assign(call: Call<Removing, Args<"item"> & Many<"who">>): Promise<void> {
  const { args, flags } = call;
  const request = { params: { id: args.item }, seen: flags.seen, payload: { assignees: args.who } };
  await act(call, flags.remove ? "unassignItem" : "assignItem", request);
}

export async function label(call: Call<Removing, Args<"item"> & Many<"label">>): Promise<void> {
  const { args, flags } = call;
  const request = { params: { id: args.item }, seen: flags.seen, payload: { labels: args.label } };
  await act(call, flags.remove ? "unlabelItem" : "labelItem", request);
}

export async function link(
  call: Call<Removing & Of<"string", "commit" | "relation">, Args<"item" | "kind" | "id">>,
): Promise<void> {
  const { args, flags } = call;
  const params = { id: args.item };
  const end = { kind: args.kind as never, id: args.id };
  if (flags.remove) {
    await act(call, "unlinkItem", { params, seen: flags.seen, payload: { links: [end] } });
    return;
  }
  const relation = flags.relation === undefined ? {} : { relation: flags.relation as never };
  const commit = flags.commit === undefined ? {} : { commit: flags.commit };
  await act(call, "linkItem", { params, seen: flags.seen, payload: { links: [{ ...end, ...relation, ...commit }] } });
}

/** The line meant by a number from 1, an id, or the beginning of its text. @throws Failure with exit code 3 */
export function lineNamed(item: Pick<Item, "id" | "checklist">, word: string): Line {
  const { checklist } = item;
  const byNumber = /^\d{1,3}$/.test(word) ? checklist[Number(word) - 1] : undefined;
  const exact = byNumber ?? checklist.find(({ id }) => id === word);
  if (exact !== undefined) return exact;
  const begun = checklist.filter(({ text }) => text.toLowerCase().startsWith(word.toLowerCase()));
  if (begun.length === 1) return begun[0]!;
  const what = begun.length === 0 ? "no line" : "more than one line";
  throw new Failure("not-found", EXIT.notFound, `There is ${what} "${word}" in the checklist`, {
    fix: `Lines and their numbers: \`mill work show ${item.id}\``,
  });
}

async function itemOf(gateway: Gateway, id: string): Promise<Item> {
  return gateway.call("getItem", { params: { id } });
}

export async function check(
  call: Call<
    Of<"boolean", "all">,
    Args<"item"> & { readonly line: { readonly summary: string; readonly many: true; readonly optional: true } }
  >,
  done: boolean,
): Promise<void> {
  const { args, flags } = call;
  if (flags.all === args.line.length > 0) throw usage("Name the lines, or say --all");
  const gateway = gatewayOf(call);
  let item = await itemOf(gateway, args.item);
  const lines = flags.all ? item.checklist : args.line.map((word) => lineNamed(item, word));
  for (const line of lines.filter((each) => each.done !== done)) {
    item = await gateway.call("changeLine", { params: { id: args.item, line: line.id }, payload: { done } });
  }
  const style = styleOf(call);
  if (style.format === "table" && item.checklist.length > 0) {
    await call.io.out(`${item.checklist.map((line, index) => lineText(line, index + 1)).join("\n")}\n`);
  } else await print(call, item);
}

export async function addLine(
  call: Call<Of<"boolean", "required"> & Of<"integer", "at"> & Seen, Args<"item" | "text">>,
): Promise<void> {
  const { args, flags } = call;
  await act(call, "addLine", {
    params: { id: args.item },
    seen: flags.seen,
    payload: {
      text: args.text,
      required: flags.required,
      ...(flags.at === undefined ? {} : { index: flags.at - 1 }),
    },
  });
}

export async function removeLine(call: Call<None, Args<"item" | "line">>): Promise<void> {
  const { args } = call;
  const line = lineNamed(await itemOf(gatewayOf(call), args.item), args.line);
  await act(call, "removeLine", { params: { id: args.item, line: line.id } });
}

export async function note(call: Call<Of<"boolean", "append"> & Seen, Args<"item" | "text">>): Promise<void> {
  const { args, flags } = call;
  const text = await textOrStdin(call, args.text);
  if (!flags.append) {
    await act(call, "changeItem", { params: { id: args.item }, seen: flags.seen, payload: { notes: text } });
    return;
  }
  // What was read is what it is put after: somebody else's notes of the same moment are not written over.
  const item = await itemOf(gatewayOf(call), args.item);
  const notes = item.spec.notes === "" ? text : `${item.spec.notes.trimEnd()}\n\n${text}`;
  await act(call, "changeItem", { params: { id: args.item }, seen: flags.seen ?? item.generation, payload: { notes } });
}

export async function comment(call: Call<None, Args<"item" | "text">>): Promise<void> {
  const { args } = call;
  await act(call, "writeComment", {
    params: { id: args.item },
    payload: { text: await textOrStdin(call, args.text) },
  });
}
