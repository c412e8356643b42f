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
type Pace = NonNullable<Channel["spec"]["pace"]>;
type Args<K extends string> = { readonly [P in K]: { readonly summary: string } };
type Of<T, K extends string> = { readonly [P in K]: { readonly type: T; readonly summary: string } };
type Said = Of<"strings", "in" | "kind" | "type" | "id" | "template"> &
  Of<"string", "description" | "quiet-hours" | "flood"> &
  Of<"integer", "digest">;
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
    ["pace", paceText(spec.pace ?? {})],
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

/** @returns undefined: none was given */
function paceOf(flags: {
  readonly "quiet-hours"?: string | undefined;
  readonly digest?: number | undefined;
  readonly flood?: string | undefined;
}): Pace | undefined {
  const { "quiet-hours": hours, digest, flood } = flags;
  const [, from, to, zone] = /^(\d\d:\d\d)-(\d\d:\d\d)@(\S+)$/u.exec(hours ?? "") ?? [];
  const [, messages, minutes] = /^(\d{1,4})\/(\d{1,4})$/u.exec(flood ?? "") ?? [];
  if (hours !== undefined && zone === undefined) {
    throw usage(`"${oneLine(hours)}" are no quiet hours`, "Write 22:00-07:00@Europe/Berlin");
  }
  if (flood !== undefined && minutes === undefined) {
    throw usage(`"${oneLine(flood)}" is no flood cap`, "Write 10/5 for ten messages in five minutes");
  }
  if (hours === undefined && digest === undefined && flood === undefined) return undefined;
  return {
    ...(zone === undefined ? {} : { quiet: { from: from!, to: to!, zone } }),
    ...(digest === undefined ? {} : { digestMinutes: digest }),
    ...(minutes === undefined ? {} : { flood: { messages: Number(messages), minutes: Number(minutes) } }),
  };
}

const paceText = ({ quiet, digestMinutes, flood }: Pace): string[] => [
  ...(quiet === undefined ? [] : [`quiet from ${quiet.from} to ${quiet.to}, ${quiet.zone}`]),
  ...(digestMinutes === undefined ? [] : [`gathers for ${digestMinutes} minutes`]),
  ...(flood === undefined ? [] : [`at most ${flood.messages} messages in ${flood.minutes} minutes`]),
];

function saidOf(flags: {
  readonly in: readonly string[];
  readonly kind: readonly string[];
  readonly type: readonly string[];
  readonly id: readonly string[];
  readonly template: readonly string[];
  readonly description?: string | undefined;
  readonly "quiet-hours"?: string | undefined;
  readonly digest?: number | undefined;
  readonly flood?: string | undefined;
}) {
  const events = filterOf(flags);
  const pace = paceOf(flags);
  const templates = templatesOf(flags.template);
  return {
    ...(flags.description === undefined ? {} : { description: flags.description }),
    ...(events === undefined ? {} : { events }),
    ...(templates === undefined ? {} : { templates }),
    ...(pace === undefined ? {} : { pace }),
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
  call: ChannelCall<Said & Of<"string", "address"> & Of<"boolean", "all" | "at-once"> & Of<"integer", "seen">>,
): Promise<void> {
  const { args, flags } = call;
  const changed = await gatewayOf(call).call("changeChannel", {
    params: { id: args.channel },
    seen: flags.seen,
    payload: {
      ...(flags.address === undefined ? {} : { url: (await textOrStdin(call, flags.address)).trim() }),
      ...saidOf(flags),
      ...(flags.all ? { events: {} } : {}),
      ...(flags["at-once"] ? { pace: {} } : {}),
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
