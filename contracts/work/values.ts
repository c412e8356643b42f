/**
 * Words and limits of the work context: said once, used by the API's schemas and by the rules alike.
 * What is too long is refused with an error, never cut.
 */
import * as Schema from "effect/Schema";
import { idPattern, PREFIXES } from "../ids.ts";

export const LIMITS = {
  /** Code points of a title. */
  title: 200,
  /** Bytes of UTF-8 of a description, of notes, of a notes template. */
  textBytes: 64 * 1024,
  lines: 200,
  lineText: 500,
  comments: 2_000,
  commentBytes: 16 * 1024,
  /** Bytes of all comments of one work item together. */
  threadBytes: 1024 * 1024,
  assignees: 20,
  labels: 50,
  links: 50,
  attachments: 50,
  /** Bytes of one attachment. */
  attachmentBytes: 8 * 1024 * 1024,
  waivers: 50,
  reason: 2_000,
  states: 50,
  transitions: 200,
} as const;

/** One line of text: printable, and more than white space. Linear to match, whatever it is given. */
const lineOf = (most: number) => new RegExp(`^[^\\p{Cc}\\p{Cs}\\s][^\\p{Cc}\\p{Cs}]{0,${most - 1}}$`, "u");

export const PATTERNS = {
  title: lineOf(LIMITS.title),
  lineText: lineOf(LIMITS.lineText),
  /** Several lines: no control characters but tab and ends of lines, no half of a surrogate pair. */
  text: /^[\P{C}\p{Cf}\p{Co}\p{Cn}\t\n\r]*$/u,
  label: /^[a-z0-9][a-z0-9\-./]{0,62}$/u,
  assignee: /^[a-z0-9][a-z0-9._@-]{0,63}$/u,
  /** The beginning of a commit's hash, or all of it. */
  commit: /^[0-9a-f]{7,64}$/u,
  /** Name of a file: one line, no path. */
  file: /^[^\p{Cc}\p{Cs}\s/\\][^\p{Cc}\p{Cs}/\\]{0,254}$/u,
  mediaType: /^[a-z0-9][a-z0-9!#$&^_.+-]{0,62}\/[a-z0-9][a-z0-9!#$&^_.+-]{0,62}$/u,
  sha256: /^[0-9a-f]{64}$/u,
  /** Names of types and states. Without an underscore, so that none looks like an id. */
  name: /^[a-z0-9][a-z0-9-]{0,62}$/u,
  /** A day that exists is checked beyond this. */
  day: /^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$/u,
} as const;

/** What a state means, whatever it is called. */
export const GROUPS = ["backlog", "unstarted", "started", "completed", "cancelled"] as const;
export type Group = (typeof GROUPS)[number];

export const PRIORITIES = ["urgent", "high", "medium", "low"] as const;
export type Priority = (typeof PRIORITIES)[number];

/** What can be asked of a work item before it enters a group of states. */
export const GATES = {
  checklist_complete: "Every required line of the checklist is done",
  notes_present: "The notes are written: long enough, and not the template as it was",
} as const;
export type GateName = keyof typeof GATES;

/** What a work item may be linked to, and which kind that is. */
export const LINKED = {
  application: "applications.application",
  deployment: "applications.deployment",
  item: "work.item",
} as const satisfies Readonly<Record<string, keyof typeof PREFIXES>>;
export type LinkedKind = keyof typeof LINKED;
export const LINKED_KINDS = Object.keys(LINKED) as ReadonlyArray<LinkedKind>;

/** How a work item stands to what it is linked to. */
export const RELATIONS = ["changes", "caused-by", "relates-to"] as const;
export type Relation = (typeof RELATIONS)[number];

/** Key of the line that is ticked when what the item changes has been deployed, and was found well. */
export const DEPLOYED = "deployed";

const encoder = new TextEncoder();

/** Bytes of a text in UTF-8. */
export const bytesOf = (text: string): number => encoder.encode(text).length;

/** Whether a `YYYY-MM-DD` is a day of the calendar. */
export const isDay = (text: string): boolean =>
  PATTERNS.day.test(text) && new Date(`${text}T00:00:00Z`).toISOString().startsWith(text);

const isAtMostBytes = (most: number) =>
  Schema.makeFilter((text: string) => bytesOf(text) <= most || `at most ${most} bytes of UTF-8`, {
    toJsonSchema: () => ({ maxLength: most }),
  });

export const Title = Schema.String.check(Schema.isPattern(PATTERNS.title)).annotate({
  description: `One line, at most ${LIMITS.title} characters`,
  examples: ["Renew the certificate of the build server"],
});
export const LongText = Schema.String.check(Schema.isPattern(PATTERNS.text), isAtMostBytes(LIMITS.textBytes)).annotate({
  description: "Markdown, at most 64 KiB of UTF-8",
  examples: ["It runs out on the first of the month."],
});
export const CommentText = Schema.String.check(
  Schema.isMinLength(1),
  Schema.isPattern(PATTERNS.text),
  isAtMostBytes(LIMITS.commentBytes),
).annotate({ description: "Markdown, at most 16 KiB of UTF-8", examples: ["The new one is in place."] });
export const LineText = Schema.String.check(Schema.isPattern(PATTERNS.lineText)).annotate({
  description: `One line, at most ${LIMITS.lineText} characters`,
  examples: ["Tell the people who use it"],
});
export const Reason = Schema.String.check(
  Schema.isPattern(PATTERNS.text),
  Schema.isMaxLength(LIMITS.reason),
  Schema.makeFilter((text: string) => text.trim() !== "" || "more than white space", {
    toJsonSchema: () => ({ minLength: 1 }),
  }),
).annotate({
  description: `Why; stays with the work item for ever. At most ${LIMITS.reason} characters`,
  examples: ["The supplier confirmed it by telephone"],
});
export const Label = Schema.String.check(Schema.isPattern(PATTERNS.label)).annotate({
  description: "Lower-case letters, digits, hyphens, dots and slashes; at most 63",
  examples: ["area/network"],
});
export const Assignee = Schema.String.check(Schema.isPattern(PATTERNS.assignee)).annotate({
  description: "Who is to do it: a person's or a team's name",
  examples: ["ada"],
});
export const FileName = Schema.String.check(Schema.isPattern(PATTERNS.file)).annotate({
  description: "Name of a file: at most 255 characters, no slashes",
  examples: ["front.jpg"],
});
export const MediaType = Schema.String.check(Schema.isPattern(PATTERNS.mediaType)).annotate({
  description: "What kind of file it is said to be; nobody looks whether that is so",
  examples: ["image/jpeg"],
});
export const Sha256 = Schema.String.check(Schema.isPattern(PATTERNS.sha256)).annotate({
  description: "SHA-256 of its bytes, in hexadecimal digits",
});
export const StateName = Schema.String.check(Schema.isPattern(PATTERNS.name)).annotate({
  description: "Name of a state of the work item's type",
  examples: ["in-progress"],
});
export const TypeName = Schema.String.check(Schema.isPattern(PATTERNS.name)).annotate({
  description: "Name of a type of work",
  examples: ["task"],
});
export const LineKey = Schema.String.check(Schema.isPattern(PATTERNS.name)).annotate({
  description: `What automation knows a line by; \`${DEPLOYED}\` is ticked when the deployment of the item's commit is verified`,
  examples: [DEPLOYED],
});
export const Commit = Schema.String.check(Schema.isPattern(PATTERNS.commit)).annotate({
  description: "Hash of a commit, or its first seven digits and more",
  examples: ["8f1b2c3"],
});
export const LinkedKindName = Schema.Literals(LINKED_KINDS).annotate({ description: "What it leads to" });
export const RelationName = Schema.Literals(RELATIONS).annotate({
  description: "How the item stands to it; `relates-to` if left out",
});
/** The pattern of ids that each kind of link takes. */
export const linkedId = (kind: LinkedKind): RegExp => idPattern(PREFIXES[LINKED[kind]]);
export const Day = Schema.String.check(
  Schema.isPattern(PATTERNS.day),
  Schema.makeFilter((text: string) => isDay(text) || "a day of the calendar"),
).annotate({ description: "A day, `YYYY-MM-DD`", examples: ["2027-01-31"] });
export const GroupName = Schema.Literals(GROUPS).annotate({
  description: "What a state means: backlog, unstarted, started, completed or cancelled",
});
export const PriorityName = Schema.Literals(PRIORITIES).annotate({ description: "How urgent it is" });
export const Gate = Schema.Literals(Object.keys(GATES) as ReadonlyArray<GateName>).annotate({
  description: Object.entries(GATES)
    .map(([name, what]) => `\`${name}\`: ${what}`)
    .join(". "),
});
