/** What a notification says: a text of an event, by a template or by itself, within what each service takes. */
import type { Service } from "./channel-url.ts";

/** What templates may name. */
export interface Told {
  readonly type: string;
  readonly actor: string;
  readonly kind: string;
  readonly id: string;
  readonly time: string;
  readonly sentence: string;
  readonly data: unknown;
}

export const TEMPLATE = { characters: 2_000, most: 50 } as const;
const PLACE = /\{\{([^{}]*)\}\}/gu;
const PATH = /^\s*(type|actor|kind|id|time|sentence|data(\.[A-Za-z0-9_]{1,64}){1,8})\s*$/u;

/** @returns what is wrong with a template, or undefined. Templates name values; they hold no code */
export function templateFault(text: string): string | undefined {
  if (text.length === 0 || text.length > TEMPLATE.characters) return `1 to ${TEMPLATE.characters} characters`;
  for (const [, path = ""] of text.matchAll(PLACE)) {
    if (!PATH.test(path)) {
      return "only {{type}}, {{actor}}, {{kind}}, {{id}}, {{time}}, {{sentence}} and {{data.…}}: a template names values, and holds no code";
    }
  }
  if (/\{\{|\}\}|\{%|<%|\$\{/u.test(text.replaceAll(PLACE, ""))) {
    return "a text with {{path}} in it: conditions, loops and code are not taken";
  }
  return undefined;
}

function valueAt(told: Told, path: string): string {
  let value: unknown = told;
  for (const name of path.trim().split(".")) {
    value =
      typeof value === "object" && value !== null && Object.hasOwn(value, name)
        ? (value as Record<string, unknown>)[name]
        : undefined;
  }
  if (value === undefined || value === null) return "";
  return typeof value === "string" ? value : JSON.stringify(value);
}

const ESCAPES: Readonly<Partial<Record<Service, (text: string) => string>>> = {
  slack: (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;"),
  discord: (text) => text.replaceAll(/[\\*_~`|>#[\]()-]/g, (mark) => `\\${mark}`).replaceAll("@", "@\u200b"),
};

/** Characters of one message. */
export const MOST: Readonly<Record<Service, number>> = {
  ...{
    slack: 3_000,
    discord: 2_000,
    telegram: 4_096,
    ntfy: 1_300,
    gotify: 4_096,
    matrix: 8_000,
    json: 8_000,
    mail: 50_000,
  },
};

/** Cut where the service would refuse it, never within a character. */
export function cut(service: Service, text: string): string {
  const most = MOST[service];
  if (text.length <= most) return text;
  const points = [...text.slice(0, most)];
  while (points.join("").length > most - 1) points.pop();
  return `${points.join("")}…`;
}

/** The values are escaped for the service; the template's own text is its author's. */
export function render(service: Service, template: string | undefined, told: Told): string {
  const escaped = ESCAPES[service] ?? ((text) => text);
  const text = (template ?? "{{actor}} {{sentence}} ({{kind}} {{id}})").replaceAll(PLACE, (_, path: string) =>
    escaped(valueAt(told, path)),
  );
  return cut(service, text.replaceAll(/[^\P{Cc}\n\t]/gu, " "));
}
