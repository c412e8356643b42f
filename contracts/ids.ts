/**
 * Ids: `<prefix>_<26 lower-case Crockford base 32 digits of a ULID>`, made at the edge.
 * The first ten digits are the time in milliseconds, so ids sort by their making; the rest is random,
 * or derived from an idempotency key so that a repeat meets its own first try.
 */
import * as Schema from "effect/Schema";

const ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz";

/** The prefix of every kind of entity, by `<context>.<kind>`. */
export const PREFIXES = {
  "identity.organisation": "org",
  "identity.token": "tok",
  "identity.secret": "sec",
  "identity.member": "usr",
  "identity.invitation": "inv",
  "identity.role": "rol",
  "work.item": "itm",
  "work.type": "wty",
  "applications.application": "app",
  "applications.deployment": "dep",
  "integrations.webhook": "whk",
  "integrations.channel": "chn",
  "integrations.subscriber": "sub",
  "applications.upload": "upl",
  "automation.schedule": "sch",
  "automation.rule": "rul",
  "automation.process": "prc",
  "automation.alert": "alr",
  "devices.device": "dev",
  "devices.task": "tsk",
  "devices.bulk": "blk",
  "devices.profile": "prf",
  "devices.group": "grp",
  "devices.rollout": "rlo",
  "devices.scan": "scn",
  "devices.sync": "syn",
  "publishing.repository": "rep",
  "publishing.build": "bld",
  "publishing.clienttoken": "ctk",
} as const;

/**
 * @param prefix e.g. `itm`
 * @param time milliseconds since 1970
 * @param entropy at least ten bytes
 */
export function makeId(prefix: string, time: number, entropy: Uint8Array): string {
  let digits = "";
  for (let i = 9, rest = time; i >= 0; i--, rest = Math.floor(rest / 32)) digits = ALPHABET[rest % 32] + digits;
  let bits = 0n;
  for (let i = 0; i < 10; i++) bits = (bits << 8n) | BigInt(entropy[i] ?? 0);
  let tail = "";
  for (let i = 0; i < 16; i++, bits >>= 5n) tail = ALPHABET[Number(bits & 31n)] + tail;
  return `${prefix}_${digits}${tail}`;
}

/** Matches an id with one of the given prefixes. The `u` flag keeps the pattern in OpenAPI. */
export const idPattern = (...prefixes: ReadonlyArray<string>) =>
  new RegExp(`^(${prefixes.join("|")})_[0-9a-hjkmnp-tv-z]{26}$`, "u");

const TAIL = /^[0-9a-hjkmnp-tv-z]{26}$/u;

export const isId = (prefix: string, text: string): boolean =>
  text[prefix.length] === "_" && text.startsWith(prefix) && TAIL.test(text.slice(prefix.length + 1));

/** A schema for ids of one kind. */
export const Id = (prefix: string, title: string) =>
  Schema.String.check(Schema.isPattern(idPattern(prefix))).annotate({
    title,
    description: `\`${prefix}_\` and 26 digits of lower-case Crockford base 32`,
    examples: [`${prefix}_01kajzq4v0e8r9t2m5x7c3d6fg`],
  });

/** A unique name within an organisation and kind: lower-case letters, digits and hyphens, up to 63. */
export const Name = Schema.String.check(Schema.isPattern(/^[a-z0-9][a-z0-9-]{0,62}$/u)).annotate({
  title: "Name",
  description: "Lower-case letters, digits and hyphens; at most 63; begins with a letter or digit",
  examples: ["home"],
});

/** An id or the unique name: what paths take. Anything else of a sane length is merely not found. */
export const Reference = Schema.String.check(Schema.isPattern(/^[a-z0-9][a-z0-9_-]{0,62}$/u)).annotate({
  title: "Reference",
  description: "An id, or the unique name where the kind has one",
});
