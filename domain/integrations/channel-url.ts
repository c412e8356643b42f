/**
 * Addresses of notification channels: one URL each, in the two dialects that people know (shoutrrr's and apprise's), where they do not
 * contradict each other. A URL holds secrets, so it is sealed as a whole; what may be shown of it is made here, too.
 */
import { own } from "../own.ts";

export const SERVICES = ["mail", "slack", "discord", "ntfy", "gotify", "telegram", "matrix", "json"] as const;
export type Service = (typeof SERVICES)[number];

export type Target =
  | { readonly service: "slack" | "discord" | "json"; readonly url: string }
  | { readonly service: "ntfy"; readonly url: string; readonly authorization?: string }
  | { readonly service: "gotify"; readonly url: string; readonly token: string }
  | { readonly service: "telegram"; readonly url: string; readonly chats: ReadonlyArray<string> }
  | {
      readonly service: "matrix";
      readonly origin: string;
      readonly token: string;
      readonly rooms: ReadonlyArray<string>;
    }
  | {
      readonly service: "mail";
      readonly host: string;
      readonly port: number;
      /** TLS from the first byte; else STARTTLS where the server has it. */
      readonly secure: boolean;
      readonly user?: string;
      readonly password?: string;
      readonly from: string;
      readonly to: ReadonlyArray<string>;
    };

export type ChannelUrl =
  | { readonly target: Target /** What may be shown. */; readonly shown: string }
  /** What is wrong with it, never repeating it. */
  | { readonly fault: string };

const MOST = 2_000;
const RECIPIENTS_MOST = 20;
const FORM = /^([a-z]{3,10}):\/\/([^\s?#]*)(?:\?([^\s#]*))?(#[^\s]*)?$/u;
const TOKEN = /^[A-Za-z0-9_.:-]{1,200}$/u;
const HOST = /^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?)(:\d{1,5})?$/u;
const MAIL = /^[^\s@<>,;"]{1,64}@[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$/u;

interface Parts {
  readonly scheme: string;
  /** Before the `@`. */
  readonly user: string;
  readonly password: string;
  readonly host: string;
  readonly path: ReadonlyArray<string>;
  readonly query: URLSearchParams;
  readonly fragment: string;
}

const plain = (text: string): string => {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
};

function partsOf(text: string): Parts | undefined {
  const [, scheme, rest = "", query = "", fragment = ""] = (text.length <= MOST ? FORM.exec(text) : null) ?? [];
  if (scheme === undefined) return undefined;
  const at = rest.lastIndexOf("@", rest.includes("/") ? rest.indexOf("/") : undefined);
  const [user = "", ...password] = at < 0 ? [""] : rest.slice(0, at).split(":");
  const [host = "", ...path] = rest.slice(at + 1).split("/");
  return {
    ...{ scheme, user: plain(user), password: plain(password.join(":")), host },
    path: path.filter((part) => part !== "").map(plain),
    query: new URLSearchParams(query),
    fragment: plain(fragment),
  };
}

const wrong = (fault: string): ChannelUrl => ({ fault });
const list = (text: string | null): string[] => (text ?? "").split(",").filter((one) => one !== "");

/** `https://host` unless the URL says that it is not. */
function originOf({ scheme, host, query }: Parts, tls = true): string | undefined {
  if (!HOST.test(host)) return undefined;
  const isPlain = query.get("scheme") === "http" || /^(yes|true|1)$/i.test(query.get("disabletls") ?? "");
  return `${(tls || scheme.endsWith("s")) && !isPlain ? "https" : "http"}://${host}`;
}

/** A server of one's own that speaks the same language, by `?server=https://…`. */
function serverOf(query: URLSearchParams, usual: string): string | undefined {
  const server = query.get("server");
  if (server === null) return usual;
  return /^https?:\/\/[^\s/@]+$/u.test(server) && URL.canParse(server) ? new URL(server).origin : undefined;
}

const readers: Readonly<Record<string, (parts: Parts) => ChannelUrl>> = {
  slack: ({ host, path, query }) => {
    const tokens = [host, ...path].slice(0, 3);
    const server = serverOf(query, "https://hooks.slack.com");
    if (server === undefined || tokens.length < 3 || !tokens.every((token) => /^[A-Za-z0-9]{1,64}$/u.test(token))) {
      return wrong("slack://A/B/C, the three parts of the hook's address");
    }
    return {
      target: { service: "slack", url: `${server}/services/${tokens.join("/")}` },
      shown: `slack://${tokens[0]}/…`,
    };
  },
  discord: ({ user, host, path, query }) => {
    // The dialects put id and token in opposite order, but only one of them has an @.
    const [id = "", token = ""] = user === "" ? [host, path[0]] : [host, user];
    const server = serverOf(query, "https://discord.com");
    if (server === undefined || !/^\d{5,25}$/u.test(id) || !TOKEN.test(token)) {
      return wrong("discord://id/token or discord://token@id");
    }
    const thread = query.get("thread_id");
    if (thread !== null && !/^\d{5,25}$/u.test(thread)) return wrong("discord://…?thread_id= with the thread's number");
    const rest = thread === null ? "" : `&thread_id=${thread}`;
    return {
      target: { service: "discord", url: `${server}/api/webhooks/${id}/${token}?wait=true${rest}` },
      shown: `discord://${id}/…`,
    };
  },
  telegram: ({ user, password, host, path, query, scheme }) => {
    // `telegram://<number>:<key>@telegram?chats=`, `tgram://<number>:<key>/<chat>/…`
    const token = scheme === "tgram" ? host : `${user}:${password}`;
    const chats = scheme === "tgram" ? path : list(query.get("chats"));
    const server = serverOf(query, "https://api.telegram.org");
    if (server === undefined || !/^\d{5,15}:[A-Za-z0-9_-]{10,100}$/u.test(token) || chats.length === 0) {
      return wrong("telegram://token@telegram?chats=@channel,123 or tgram://token/chat");
    }
    if (chats.length > RECIPIENTS_MOST || !chats.every((chat) => /^(@[A-Za-z0-9_]{3,64}|-?\d{1,20})$/u.test(chat))) {
      return wrong(`chats as @channel or numbers, at most ${RECIPIENTS_MOST}`);
    }
    const url = `${server}/bot${token}/sendMessage`;
    return { target: { service: "telegram", url, chats }, shown: `telegram://…@telegram?chats=${chats.join(",")}` };
  },
  ntfy: (parts) => {
    const { user, password, host, path } = parts;
    const isTopicAlone = path.length === 0;
    const topic = isTopicAlone ? host : path[0]!;
    const origin = isTopicAlone ? "https://ntfy.sh" : originOf(parts);
    if (origin === undefined || path.length > 1 || !/^[A-Za-z0-9_-]{1,64}$/u.test(topic)) {
      return wrong("ntfy://topic, or ntfy://user:password@host/topic");
    }
    const basic = `Basic ${btoa(`${user}:${password}`)}`;
    const authorization = user === "" ? {} : { authorization: password === "" ? `Bearer ${user}` : basic };
    return {
      target: { service: "ntfy", url: `${origin}/${topic}`, ...authorization },
      shown: `ntfy://${user === "" ? "" : "…@"}${new URL(origin).host}/${topic}`,
    };
  },
  gotify: (parts) => {
    const origin = originOf(parts);
    const token = parts.path.at(-1);
    if (origin === undefined || token === undefined || !TOKEN.test(token)) return wrong("gotify://host/token");
    const below = parts.path
      .slice(0, -1)
      .map((part) => `/${encodeURIComponent(part)}`)
      .join("");
    return {
      target: { service: "gotify", url: `${origin}${below}/message`, token },
      shown: `gotify://${parts.host}/…`,
    };
  },
  matrix: (parts) => {
    const origin = originOf(parts);
    const { user, password, query, path, fragment } = parts;
    const rooms = [...list(query.get("rooms")), ...path, ...(fragment === "" ? [] : [fragment])];
    const token = password === "" ? user : user === "" ? password : "";
    if (token === "")
      return wrong("matrix://:access-token@host/?rooms=!room:host; a password is not kept, make an access token");
    if (origin === undefined || rooms.length === 0 || rooms.length > RECIPIENTS_MOST) {
      return wrong("matrix://:access-token@host/?rooms=!room:host");
    }
    if (!rooms.every((room) => /^[!#][^\s/?]{1,255}$/u.test(room))) return wrong("rooms as !id:host or #alias:host");
    return {
      target: { service: "matrix", origin, token, rooms },
      shown: `matrix://…@${parts.host}/?rooms=${rooms.join(",")}`,
    };
  },
  json: (parts) => {
    const origin = originOf(parts, parts.scheme !== "json");
    if (origin === undefined) return wrong("generic://host/path, json://host/path or jsons://host/path");
    const path = parts.path.map((part) => `/${encodeURIComponent(part)}`).join("") || "/";
    return { target: { service: "json", url: origin + path }, shown: `${parts.scheme}://${parts.host}/…` };
  },
  mail: (parts) => {
    const { scheme, user, password, host, query } = parts;
    const isMailto = scheme.startsWith("mailto");
    const server = isMailto ? (query.get("smtp") ?? host) : host;
    const [, name = "", , digits] = HOST.exec(server) ?? [];
    const secure = scheme === "mailtos" ? query.get("mode") === "ssl" : scheme === "smtps";
    const port = digits === undefined ? (secure ? 465 : isMailto ? 587 : 25) : Number(digits.slice(1));
    const from = query.get("from") ?? query.get("fromaddress") ?? (user.includes("@") ? user : `${user}@${host}`);
    const to = [...list(query.get("to")), ...list(query.get("toaddresses"))];
    const recipients = to.length === 0 && isMailto ? [from] : to;
    if (name === "") return wrong("smtp://user:password@host:587/?from=a@example.com&to=b@example.com");
    if (![25, 465, 587, 2525].includes(port) && port < 1_024)
      return wrong("port 25, 465, 587, 2525, or one above 1023");
    if (
      !MAIL.test(from) ||
      recipients.length === 0 ||
      recipients.length > RECIPIENTS_MOST ||
      !recipients.every((one) => MAIL.test(one))
    ) {
      return wrong(`\`from\` and \`to\` as addresses of mail, at most ${RECIPIENTS_MOST}`);
    }
    return {
      target: {
        ...{ service: "mail", host: name.replace(/^\[|\]$/g, ""), port, secure, from, to: recipients },
        ...(user === "" || password === "" ? {} : { user, password }),
      },
      shown: `smtp://${password === "" ? "" : "…@"}${name}:${port}/?from=${from}&to=${recipients.join(",")}`,
    };
  },
};

const SCHEMES: Readonly<Record<string, Service>> = {
  ...{ slack: "slack", discord: "discord", telegram: "telegram", tgram: "telegram", ntfy: "ntfy", ntfys: "ntfy" },
  ...{ gotify: "gotify", gotifys: "gotify", matrix: "matrix", matrixs: "matrix" },
  ...{ generic: "json", json: "json", jsons: "json", smtp: "mail", smtps: "mail", mailto: "mail", mailtos: "mail" },
};

/** Reads the URL of a channel. Faults say what is expected, and never repeat what was given: it holds secrets. */
export function readChannelUrl(text: string): ChannelUrl {
  const parts = partsOf(text);
  const service = parts === undefined ? undefined : own(SCHEMES, parts.scheme);
  if (parts === undefined || service === undefined) {
    return wrong(`an address that begins with ${Object.keys(SCHEMES).join("://, ")}://`);
  }
  return readers[service]!(parts);
}
