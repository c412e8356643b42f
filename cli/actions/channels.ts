/** Channels: made, changed, stopped and tested. */
import { confirm, textOrStdin } from "../ask.ts";
import { usage } from "../failure.ts";
import { gatewayOf } from "../gateway.ts";
import { oneLine } from "../io.ts";
import { facts, printOne } from "../output.ts";
import { styleOf } from "../run.ts";
import type { AnyCall, Call, Flags, None } from "../table.ts";
import type { Answer } from "../typed.ts";
import {
  awaitTest,
  type DeliveriesFlags,
  deliveriesQuery,
  filterOf,
  filterText,
  fromOf,
  printDeliveries,
  statusFacts,
} from "./webhooks.ts";

type Channel = Answer<"getChannel">;
type Args<K extends string> = { readonly [P in K]: { readonly summary: string } };
type Of<T, K extends string> = { readonly [P in K]: { readonly type: T; readonly summary: string } };
type Said = Of<"strings", "in" | "kind" | "type" | "id" | "template"> & Of<"string", "description">;
type ChannelCall<F extends Flags = None> = Call<F, Args<"channel">>;

export const channelText = ({ id, generation, spec, status }: Channel): string =>
  facts([
    ["name", spec.name],
    ["id", id],
    ["service", spec.service],
    ["address", spec.address],
    ["description", spec.description === "" ? undefined : oneLine(spec.description)],
    ["events", filterText(spec.events)],
    ["templates", Object.entries(spec.templates).map(([type, text]) => `${type}: ${oneLine(text)}`)],
    ...statusFacts(status),
    ["generation", generation],
  ]);

const print = (call: AnyCall, channel: Channel): Promise<void> =>
  printOne(call.io, styleOf(call), channel, channelText, ({ spec }) => spec.name);

/** `TYPE=TEXT`, many times. @returns undefined: none was given */
function templatesOf(given: readonly string[]): Record<string, string> | undefined {
  if (given.length === 0) return undefined;
  return Object.fromEntries(
    given.map((one) => {
      const at = one.indexOf("=");
      if (at < 1) throw usage(`"${oneLine(one)}" is no template`, "Write ItemOpened={{actor}} opened {{data.title}}");
      return [one.slice(0, at), one.slice(at + 1)];
    }),
  );
}

function saidOf(flags: {
  readonly in: readonly string[];
  readonly kind: readonly string[];
  readonly type: readonly string[];
  readonly id: readonly string[];
  readonly template: readonly string[];
  readonly description?: string | undefined;
}) {
  const events = filterOf(flags);
  const templates = templatesOf(flags.template);
  return {
    ...(flags.description === undefined ? {} : { description: flags.description }),
    ...(events === undefined ? {} : { events }),
    ...(templates === undefined ? {} : { templates }),
  };
}

export async function create(call: Call<Said, Args<"name" | "address">>): Promise<void> {
  const { args, flags } = call;
  const url = (await textOrStdin(call, args.address)).trim();
  await print(
    call,
    await gatewayOf(call).call("createChannel", { payload: { name: args.name, url, ...saidOf(flags) } }),
  );
}

export async function change(
  call: ChannelCall<Said & Of<"string", "address"> & Of<"boolean", "all"> & Of<"integer", "seen">>,
): Promise<void> {
  const { args, flags } = call;
  const changed = await gatewayOf(call).call("changeChannel", {
    params: { id: args.channel },
    seen: flags.seen,
    payload: {
      ...(flags.address === undefined ? {} : { url: (await textOrStdin(call, flags.address)).trim() }),
      ...saidOf(flags),
      ...(flags.all ? { events: {} } : {}),
    },
  });
  await print(call, changed);
}

export async function remove(call: ChannelCall<Of<"integer", "seen">>): Promise<void> {
  const { channel } = call.args;
  await confirm(call, `Delete the channel ${channel}`, channel);
  await gatewayOf(call).call("deleteChannel", { params: { id: channel }, seen: call.flags.seen });
  call.io.err(`Deleted ${channel}\n`);
}

export async function pause(call: ChannelCall): Promise<void> {
  await print(call, await gatewayOf(call).call("pauseChannel", { params: { id: call.args.channel } }));
}

export async function resume(call: ChannelCall<Of<"boolean", "skip">>): Promise<void> {
  const { args, flags } = call;
  const payload = flags.skip ? { skip: true } : {};
  await print(call, await gatewayOf(call).call("resumeChannel", { params: { id: args.channel }, payload }));
}

export async function sendTest(call: ChannelCall): Promise<void> {
  const gateway = gatewayOf(call);
  const params = { id: call.args.channel };
  const { id } = await gateway.call("testChannel", { params });
  const look = () => gateway.call("deliveriesOfChannel", { params, query: { limit: 20 } });
  await awaitTest(call, id, look, `mill channels deliveries ${call.args.channel}`);
}

export async function replay(call: Call<None, Args<"channel" | "from">>): Promise<void> {
  const { args } = call;
  const payload = fromOf(args.from);
  await print(call, await gatewayOf(call).call("replayChannel", { params: { id: args.channel }, payload }));
}

export async function deliveries(call: ChannelCall<DeliveriesFlags>): Promise<void> {
  const asked = { params: { id: call.args.channel }, query: deliveriesQuery(call.flags) };
  await printDeliveries(call, (await gatewayOf(call).call("deliveriesOfChannel", asked)).items);
}
