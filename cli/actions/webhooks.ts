/** Webhooks: made, changed, stopped and looked at. */
import { confirm } from "../ask.ts";
import { Failure, usage } from "../failure.ts";
import { gatewayOf, sleep } from "../gateway.ts";
import { oneLine } from "../io.ts";
import { facts, printList, printOne } from "../output.ts";
import { styleOf } from "../run.ts";
import { type AnyCall, type Call, EXIT, type Flags, type None } from "../table.ts";
import type { Answer } from "../typed.ts";

type Webhook = Answer<"getWebhook">;
type Args<K extends string> = { readonly [P in K]: { readonly summary: string } };
type Of<T, K extends string> = { readonly [P in K]: { readonly type: T; readonly summary: string } };
type Filters = Of<"strings", "in" | "kind" | "type" | "id">;
type HookCall<F extends Flags = None> = Call<F, Args<"webhook">>;

interface FilterFlags {
  readonly in: readonly string[];
  readonly kind: readonly string[];
  readonly type: readonly string[];
  readonly id: readonly string[];
}

/** The flags of a filter as the API has it. @returns undefined: none was given */
export function filterOf({ in: context, kind, type, id }: FilterFlags) {
  const given = Object.entries({ context, kind, type, id }).filter(([, values]) => values.length > 0);
  return given.length === 0 ? undefined : Object.fromEntries(given);
}

export const filterText = (events: Webhook["spec"]["events"]): string =>
  Object.entries(events)
    .map(([name, values]) => `${name} ${values?.join(", ")}`)
    .join("; ") || "all";

/** A time, a position, or the beginning. */
export function fromOf(text: string): { readonly time?: string; readonly position?: string } {
  if (text === "beginning") return {};
  if (/^\d{4}-\d{2}-\d{2}/.test(text)) {
    const time = new Date(text);
    if (Number.isNaN(time.getTime())) throw usage(`"${text}" is no time`, "Write 2027-01-31T00:00:00Z");
    return { time: time.toISOString() };
  }
  return { position: text };
}

/** Status of any destination, for people. */
export const statusFacts = ({ state, reason, since, parked }: Webhook["status"]): [string, string | undefined][] => [
  ["state", `${state} since ${since}`],
  ["reason", reason === undefined ? undefined : oneLine(reason)],
  ["parked", parked.map(({ id, reason }) => `${id} (${oneLine(reason)})`).join(", ") || undefined],
];

export const webhookText = ({ id, generation, spec, status }: Webhook): string =>
  facts([
    ["name", spec.name],
    ["id", id],
    ["url", spec.url],
    ["description", spec.description === "" ? undefined : oneLine(spec.description)],
    ["events", filterText(spec.events)],
    ...statusFacts(status),
    ["old secret", status.oldSecretUntil === undefined ? undefined : `signs until ${status.oldSecretUntil}`],
    ["generation", generation],
  ]);

const print = (call: AnyCall, webhook: Webhook): Promise<void> =>
  printOne(call.io, styleOf(call), webhook, webhookText, ({ spec }) => spec.name);

/** With the secret, where this is the answer that shows it. */
async function printSecret(call: AnyCall, webhook: Answer<"createWebhook">): Promise<void> {
  const people = (hook: typeof webhook) =>
    webhookText(hook) + facts([["secret", hook.secret ?? "(it was shown before; it cannot be shown again)"]]);
  await printOne(call.io, styleOf(call), webhook, people, (hook) => hook.secret ?? "");
  call.io.err("The secret is shown this once: keep it now\n");
}

export async function create(
  call: Call<Filters & Of<"string", "description" | "from">, Args<"name" | "address">>,
): Promise<void> {
  const { args, flags } = call;
  const events = filterOf(flags);
  const made = await gatewayOf(call).call("createWebhook", {
    payload: {
      name: args.name,
      url: args.address,
      ...(flags.description === undefined ? {} : { description: flags.description }),
      ...(events === undefined ? {} : { events }),
      ...(flags.from === undefined ? {} : { from: fromOf(flags.from) }),
    },
  });
  await printSecret(call, made);
}

export async function change(
  call: HookCall<Filters & Of<"string", "address" | "description"> & Of<"boolean", "all"> & Of<"integer", "seen">>,
): Promise<void> {
  const { args, flags } = call;
  const events = flags.all ? {} : filterOf(flags);
  const changed = await gatewayOf(call).call("changeWebhook", {
    params: { id: args.webhook },
    seen: flags.seen,
    payload: {
      ...(flags.address === undefined ? {} : { url: flags.address }),
      ...(flags.description === undefined ? {} : { description: flags.description }),
      ...(events === undefined ? {} : { events }),
    },
  });
  await print(call, changed);
}

export async function remove(call: HookCall<Of<"integer", "seen">>): Promise<void> {
  const { webhook } = call.args;
  await confirm(call, `Delete the webhook ${webhook}`, webhook);
  await gatewayOf(call).call("deleteWebhook", { params: { id: webhook }, seen: call.flags.seen });
  call.io.err(`Deleted ${webhook}\n`);
}

export async function pause(call: HookCall): Promise<void> {
  await print(call, await gatewayOf(call).call("pauseWebhook", { params: { id: call.args.webhook } }));
}

export async function resume(call: HookCall<Of<"boolean", "skip">>): Promise<void> {
  const { args, flags } = call;
  const payload = flags.skip ? { skip: true } : {};
  await print(call, await gatewayOf(call).call("resumeWebhook", { params: { id: args.webhook }, payload }));
}

export async function rotate(call: HookCall<Of<"integer", "overlap">>): Promise<void> {
  const { args, flags } = call;
  const payload = flags.overlap === undefined ? {} : { overlapHours: flags.overlap };
  await printSecret(call, await gatewayOf(call).call("rotateWebhookSecret", { params: { id: args.webhook }, payload }));
}

export async function replay(call: Call<None, Args<"webhook" | "from">>): Promise<void> {
  const { args } = call;
  const payload = fromOf(args.from);
  await print(call, await gatewayOf(call).call("replayWebhook", { params: { id: args.webhook }, payload }));
}

const TEST_MS = 35_000;
const LOOK_MS = 200;

/**
 * Waits for what the log of deliveries says of a test that was asked for.
 * @param see where more can be seen
 * @throws Failure when it was not taken, or not sent in time
 */
export async function awaitTest(
  call: AnyCall,
  id: string,
  look: () => Promise<Answer<"deliveriesOfWebhook">>,
  see: string,
): Promise<void> {
  const began = new Date(Date.now() - 60_000).toISOString();
  for (const deadline = Date.now() + TEST_MS; Date.now() < deadline; await sleep(LOOK_MS, call.io.interrupted)) {
    const { items } = await look();
    const tried = items.find(({ message, at }) => message.startsWith(`msg_test_${id}_`) && at > began);
    if (tried === undefined) continue;
    if (tried.outcome === "delivered") {
      const answered = tried.status === undefined ? "" : `: it answered ${tried.status}`;
      call.io.err(`Delivered${answered} after ${tried.durationMs} ms\n`);
      return;
    }
    const why = oneLine(tried.reason ?? "");
    throw new Failure("not-delivered", EXIT.failure, `The test was not taken: ${why}`, { fix: `See more: ${see}` });
  }
  throw new Failure("not-delivered", EXIT.failure, "The test has not been sent yet", {
    fix: "Is the projector running? `mill status` tells",
  });
}

export async function sendTest(call: HookCall): Promise<void> {
  const gateway = gatewayOf(call);
  const params = { id: call.args.webhook };
  const { id } = await gateway.call("testWebhook", { params });
  const look = () => gateway.call("deliveriesOfWebhook", { params, query: { limit: 20 } });
  await awaitTest(call, id, look, `mill webhooks deliveries ${call.args.webhook}`);
}

export type DeliveriesFlags = Of<"integer", "limit"> & Of<"string", "message">;

/** The query of a log of deliveries. */
export const deliveriesQuery = ({ limit, message }: { limit?: number | undefined; message?: string | undefined }) => ({
  ...(limit === undefined ? {} : { limit }),
  ...(message === undefined ? {} : { message }),
});

export async function printDeliveries(call: AnyCall, items: Answer<"deliveriesOfWebhook">["items"]): Promise<void> {
  await printList(
    call.io,
    styleOf(call),
    items,
    [
      { title: "at", value: (row) => row.at },
      { title: "outcome", value: (row) => row.outcome },
      { title: "status", value: (row) => row.status ?? "" },
      { title: "try", value: (row) => row.attempt },
      { title: "type", value: (row) => row.type },
      { title: "message", value: (row) => row.message },
      { title: "ms", value: (row) => row.durationMs },
      { title: "reason", value: (row) => oneLine(row.reason ?? "") },
    ],
    (row) => row.message,
  );
  if (items.length === 0) call.io.err("Nothing was sent yet\n");
}

export async function deliveries(call: HookCall<DeliveriesFlags>): Promise<void> {
  const asked = { params: { id: call.args.webhook }, query: deliveriesQuery(call.flags) };
  await printDeliveries(call, (await gatewayOf(call).call("deliveriesOfWebhook", asked)).items);
}
