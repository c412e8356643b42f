/** Subscribers of NATS: made, changed, revoked and looked at. */
import { confirm } from "../ask.ts";
import { gatewayOf } from "../gateway.ts";
import { oneLine } from "../io.ts";
import { facts, printOne } from "../output.ts";
import { styleOf } from "../run.ts";
import type { AnyCall, Call, Flags, None } from "../table.ts";
import type { Answer } from "../typed.ts";
import { expiry } from "./identity.ts";
import { filterOf, filterText } from "./webhooks.ts";

type Subscriber = Answer<"getSubscriber">;
type Args<K extends string> = { readonly [P in K]: { readonly summary: string } };
type Of<T, K extends string> = { readonly [P in K]: { readonly type: T; readonly summary: string } };
type Filters = Of<"strings", "in" | "kind" | "type" | "id">;
type SubscriberCall<F extends Flags = None> = Call<F, Args<"subscriber">>;

export const subscriberText = ({ id, generation, spec, status }: Subscriber): string =>
  facts([
    ["name", spec.name],
    ["user", id],
    ["description", spec.description === "" ? undefined : oneLine(spec.description)],
    ["events", filterText(spec.events)],
    ["until", spec.expiresAt],
    ["password", `…${status.last8}`],
    ["old password", status.oldSecretUntil === undefined ? undefined : `lets in until ${status.oldSecretUntil}`],
    ["reads by", status.maker],
    ["generation", generation],
  ]);

/** With the password, where this is the answer that shows it. */
async function printSecret(call: AnyCall, made: Answer<"createSubscriber">): Promise<void> {
  const people = (one: typeof made) =>
    subscriberText(one) + facts([["secret", one.secret ?? "(it was shown before; it cannot be shown again)"]]);
  await printOne(call.io, styleOf(call), made, people, ({ secret }) => secret ?? "");
  call.io.err("The password is shown this once: keep it now\n");
}

export async function create(
  call: Call<Filters & Of<"string", "description" | "expires">, Args<"name">>,
): Promise<void> {
  const { args, flags } = call;
  const events = filterOf(flags);
  const made = await gatewayOf(call).call("createSubscriber", {
    payload: {
      name: args.name,
      ...(flags.description === undefined ? {} : { description: flags.description }),
      ...(events === undefined ? {} : { events }),
      ...(flags.expires === undefined ? {} : { expiresAt: expiry(flags.expires, new Date()) }),
    },
  });
  await printSecret(call, made);
}

export async function change(
  call: SubscriberCall<
    Filters & Of<"string", "expires" | "description"> & Of<"boolean", "all" | "forever"> & Of<"integer", "seen">
  >,
): Promise<void> {
  const { args, flags } = call;
  const events = flags.all ? {} : filterOf(flags);
  const expiresAt = flags.forever ? null : flags.expires === undefined ? undefined : expiry(flags.expires, new Date());
  const changed = await gatewayOf(call).call("changeSubscriber", {
    params: { id: args.subscriber },
    seen: flags.seen,
    payload: {
      ...(flags.description === undefined ? {} : { description: flags.description }),
      ...(events === undefined ? {} : { events }),
      ...(expiresAt === undefined ? {} : { expiresAt }),
    },
  });
  await printOne(call.io, styleOf(call), changed, subscriberText, ({ spec }) => spec.name);
}

export async function revoke(call: SubscriberCall<Of<"integer", "seen">>): Promise<void> {
  const { subscriber } = call.args;
  await confirm(call, `Revoke the subscriber ${subscriber}: its connections are ended`, subscriber);
  await gatewayOf(call).call("revokeSubscriber", { params: { id: subscriber }, seen: call.flags.seen });
  call.io.err(`Revoked ${subscriber}\n`);
}

export async function rotate(call: SubscriberCall<Of<"integer", "overlap">>): Promise<void> {
  const { args, flags } = call;
  const payload = flags.overlap === undefined ? {} : { overlapHours: flags.overlap };
  const params = { id: args.subscriber };
  await printSecret(call, await gatewayOf(call).call("rotateSubscriberSecret", { params, payload }));
}

export async function connections(call: SubscriberCall): Promise<void> {
  const found = await gatewayOf(call).call("connectionsOfSubscriber", { params: { id: call.args.subscriber } });
  const people = ({ servers, user, inboxPrefix, read, live, contexts, connections: open }: typeof found) =>
    facts([
      ["servers", servers.join(", ") || "none: NATS here lets no subscribers in"],
      ["user", user],
      ["inbox prefix", inboxPrefix],
      ["read", read],
      ["live", live.join("\n") || "nothing"],
      ["contexts", contexts.join(", ") || "none"],
      ...open.map(({ since = "", address, name = "", library = "" }): [string, string] => [
        "connected",
        [address, since, oneLine(name), oneLine(library)].filter((part) => part !== "").join("  "),
      ]),
    ]);
  await printOne(call.io, styleOf(call), found, people, ({ user }) => user);
}
