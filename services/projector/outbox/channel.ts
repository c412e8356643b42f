/** Tells people of an event, or of several: as a request to their service, or by mail. */
import { isIP } from "node:net";
import type { SecureContext } from "node:tls";
import { kindOf } from "@millrace/domain/contexts.ts";
import type { ChannelState } from "@millrace/domain/integrations/channel.ts";
import { readChannelUrl, type Target } from "@millrace/domain/integrations/channel-url.ts";
import { cut, render, type Told } from "@millrace/domain/integrations/notification.ts";
import type { Addresses, Resolve } from "@millrace/eventlog/addresses.ts";
import type { FeedEvent } from "@millrace/eventlog/cloudevents.ts";
import { createTransport } from "nodemailer";
import { type Outcome, outcomeOf, type Sender } from "./sender.ts";
import { type Post, reasonOf, type Transport } from "./transport.ts";

type Mail = Extract<Target, { readonly service: "mail" }>;

/** What the event tells, for templates. */
export function toldOf(event: FeedEvent): Told {
  const { data } = event.event;
  const declared = kindOf(event.context, event.kind)?.events[event.type];
  let sentence = event.type;
  try {
    sentence = declared?.sentence(data) ?? event.type;
  } catch {
    // Its sentence tells of what is not public.
  }
  const actor = event.attribute("actor").split(":").slice(2).join(":");
  return { type: event.type, actor, kind: event.kind, id: event.id, time: event.time, sentence, data };
}

const JSON_TYPE = { "content-type": "application/json", "user-agent": "Millrace-Notifications/1" };

/** The requests that say a text. @param message the same for every try: Matrix takes it once */
export function postsOf(target: Exclude<Target, Mail>, text: string, message: string, event?: unknown): Post[] {
  const post = (url: string, body: unknown, headers: Record<string, string> = {}): Post => ({
    url,
    headers: { ...JSON_TYPE, ...headers },
    body: JSON.stringify(body),
  });
  switch (target.service) {
    case "slack":
      return [post(target.url, { text, blocks: [{ type: "section", text: { type: "mrkdwn", text } }] })];
    case "discord":
      return [post(target.url, { content: text, allowed_mentions: { parse: [] } })];
    case "ntfy": {
      const headers = target.authorization === undefined ? {} : { authorization: target.authorization };
      return [{ url: target.url, headers: { "content-type": "text/plain; charset=utf-8", ...headers }, body: text }];
    }
    case "gotify":
      return [post(target.url, { message: text, priority: 5 }, { "x-gotify-key": target.token })];
    case "telegram":
      return target.chats.map((chat_id) =>
        post(target.url, { chat_id, text, link_preview_options: { is_disabled: true } }),
      );
    case "matrix":
      return target.rooms.map((room) => ({
        ...post(
          `${target.origin}/_matrix/client/v3/rooms/${encodeURIComponent(room)}/send/m.room.message/${message}`,
          { msgtype: "m.text", body: text },
          { authorization: `Bearer ${target.token}` },
        ),
        method: "PUT" as const,
      }));
    case "json":
      return [post(target.url, { text, ...(event === undefined ? {} : { event }) })];
  }
}

export interface ChannelMeans {
  readonly transport: Transport;
  readonly addresses: Addresses;
  readonly resolve: Resolve | undefined;
  readonly authorities: SecureContext | undefined;
  readonly timeoutMs: number;
  readonly unseal: () => Promise<string>;
}

export class ChannelSender implements Sender {
  readonly testType = "millrace.integrations.ChannelTest.v1";
  readonly #means: ChannelMeans;
  readonly #state: ChannelState;
  #target: Promise<Target> | undefined;

  constructor(means: ChannelMeans, state: ChannelState) {
    this.#means = means;
    this.#state = state;
  }

  send(event: FeedEvent, message: string): Promise<Outcome> {
    return this.say(this.line(event), message, toldOf(event).sentence, event.event);
  }

  /** What is said of an event, alone or among others. */
  line(event: FeedEvent): string {
    const { service, templates } = this.#state.spec!;
    return render(service, templates[event.type], toldOf(event));
  }

  test(test: number): Promise<Outcome> {
    const { name, service } = this.#state.spec!;
    const text = cut(service, `This is a test of the channel ${name}.`);
    return this.say(text, `msg_test_${this.#state.id}_${test}`, "a test");
  }

  /** @param event that it tells of, where it is one alone */
  async say(text: string, message: string, subject: string, event?: unknown): Promise<Outcome> {
    const target = await this.#opened();
    if (target.service === "mail") return this.#mail(target, text, message, subject);
    // Several rooms: all of them, and the first failure counts. Who had it already has it again with the next try.
    for (const post of postsOf(target, text, message, event)) {
      const outcome = outcomeOf(await this.#means.transport.post(post));
      if (!outcome.ok) return outcome;
    }
    return { ok: true, reason: "" };
  }

  async #opened(): Promise<Target> {
    this.#target ??= this.#means.unseal().then((url) => {
      const read = readChannelUrl(url);
      if ("fault" in read) throw new Error("the channel's address is none that this release knows");
      return read.target;
    });
    this.#target.catch(() => {
      this.#target = undefined;
    });
    return this.#target;
  }

  async #mail(target: Mail, text: string, message: string, subject: string): Promise<Outcome> {
    const { addresses, resolve, timeoutMs, authorities } = this.#means;
    try {
      // The connection goes to the address that was judged; certificates are checked by the name.
      const [address] = await addresses.of(target.host, resolve);
      const mailer = createTransport({
        host: address!,
        port: target.port,
        secure: target.secure,
        ...(target.user === undefined ? {} : { auth: { user: target.user, pass: target.password ?? "" } }),
        // A password is never sent in clear.
        requireTLS: target.user !== undefined && !target.secure,
        tls: {
          ...(isIP(target.host) === 0 ? { servername: target.host } : {}),
          ...(authorities === undefined ? {} : { secureContext: authorities }),
        },
        connectionTimeout: Math.min(10_000, timeoutMs),
        greetingTimeout: Math.min(10_000, timeoutMs),
        socketTimeout: timeoutMs,
        disableFileAccess: true,
        disableUrlAccess: true,
      });
      try {
        const line = cut("mail", subject).replaceAll(/\s+/gu, " ").slice(0, 200);
        const sent = await mailer.sendMail({
          from: target.from,
          to: [...target.to],
          subject: `[millrace] ${line}`,
          text,
          messageId: `<${message}@millrace>`,
        });
        return { ok: true, answer: String(sent.response ?? ""), reason: "" };
      } finally {
        mailer.close();
      }
    } catch (error) {
      return { ok: false, reason: reasonOf(error) };
    }
  }
}
