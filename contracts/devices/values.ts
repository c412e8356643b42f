/** Words and limits of the devices context: said once, used by the API's schemas and by the rules alike. */
import * as Schema from "effect/Schema";
import { Id, Name } from "../ids.ts";

export const LIMITS = {
  title: 200,
  tags: 20,
  groups: 20,
  profiles: 10,
  /** Custom values of a device, and characters of one. */
  values: 50,
  valueCharacters: 300,
  /** Bytes of JSON: what somebody wants of a device, and what a device is observed to have. */
  configurationBytes: 64 * 1024,
  observedBytes: 192 * 1024,
  /** Levels of nesting in a configuration. */
  configurationDepth: 12,
  components: 200,
  /** Milliseconds between polls of one device. */
  poll: { least: 5_000, most: 86_400_000 },
  /** Tasks of one device that wait behind the one under way. */
  queue: 20,
  /** Fields of a drift, and of a plan, that are told; more are counted. */
  fields: 100,
  /** Characters of a field's value where it is only shown. */
  shownValue: 300,
  capabilities: 300,
  revisions: 20,
  reason: 500,
  password: 256,
  /** Begun attempts of one step of a task before it is given up. */
  attempts: 20,
  /** Writes of one plan. */
  writes: 200,
  /** Milliseconds until a task that could not begin expires: least, usual, most. */
  expires: { least: 1_000, usual: 86_400_000, most: 30 * 86_400_000 },
  /** Devices of one bulk operation or roll-out. */
  selected: 5_000,
  /** Tasks of one bulk operation under way at the same moment. */
  atOnce: { usual: 10, most: 200 },
  /** Failures that a bulk operation tells one by one; more are counted. */
  failures: 100,
  stages: 10,
  /** Places that one wish for many devices takes off. */
  forgotten: 50,
  /** Address ranges of a scan, and addresses of all of them together. */
  ranges: 16,
  addresses: 65_536,
  findings: 2_000,
  /** Findings taken in by one request. */
  import: 200,
  /** Devices of one export. */
  exported: 20_000,
} as const;

export const PATTERNS = {
  mac: /^[0-9A-F]{12}$/u,
  title: /^[^\p{Cc}\p{Cs}\s][^\p{Cc}\p{Cs}]{0,199}$/u,
  tag: /^[a-z0-9][a-z0-9._/-]{0,62}$/u,
  site: /^[a-z0-9][a-z0-9-]{0,62}$/u,
  /** `switch:0`, `sys`; `switch:*` means all of its kind. */
  component: /^[a-z][a-z0-9_]{0,31}(:([0-9]{1,5}|\*))?$/u,
  key: /^[a-z][a-zA-Z0-9_]{0,39}$/u,
  host: /^[a-zA-Z0-9][a-zA-Z0-9.:-]{0,252}$/u,
  code: /^[A-Z][A-Z0-9_]{0,63}$/u,
  fingerprint: /^[0-9a-f]{64}$/u,
  /** One line of text. */
  line: /^[^\p{Cc}\p{Cs}]{1,500}$/u,
  password: /^[^\p{Cc}\p{Cs}]{1,256}$/u,
} as const;

/** Names that paths of the collection take for themselves. */
export const RESERVED_NAMES: ReadonlyArray<string> = ["export", "import", "bulk"];

export const DeviceId = Id("dev", "Device id");
export const TaskId = Id("tsk", "Task id");
export const BulkId = Id("blk", "Bulk operation id");
export const ProfileId = Id("prf", "Profile id");
export const GroupId = Id("grp", "Group id");
export const RolloutId = Id("rlo", "Roll-out id");
export const ScanId = Id("scn", "Scan id");
export const SyncId = Id("syn", "Sync id");

export { Name };

/** @param unit how it is read, e.g. "Milliseconds between polls" */
export const ranged = (least: number, most: number, description: string) =>
  Schema.Int.check(Schema.isBetween({ minimum: least, maximum: most })).annotate({ description });

export const Mac = Schema.String.check(Schema.isPattern(PATTERNS.mac)).annotate({
  description: "Twelve hexadecimal digits in upper case, without separators, as the device says it",
  examples: ["A8032AB636EC"],
});
export const Title = Schema.String.check(Schema.isPattern(PATTERNS.title)).annotate({
  description: `One line, at most ${LIMITS.title} characters`,
});
export const Tag = Schema.String.check(Schema.isPattern(PATTERNS.tag)).annotate({ examples: ["floor/2"] });
export const Tags = Schema.Array(Tag)
  .check(Schema.isMaxLength(LIMITS.tags))
  .annotate({ description: "What lists and selections find it by" });
export const Site = Schema.String.check(Schema.isPattern(PATTERNS.site)).annotate({
  description: "The network in which it stands: an agent of this site talks to it",
  examples: ["home"],
});
export const SITE_USUAL = "home";
export const Reason = Schema.String.check(Schema.isPattern(PATTERNS.line)).annotate({
  description: `One line, at most ${LIMITS.reason} characters`,
});
export const Host = Schema.String.check(Schema.isPattern(PATTERNS.host)).annotate({
  description: "IP address, or host name",
  examples: ["192.168.1.40"],
});
export const Port = ranged(1, 65_535, "TCP port");
export const Password = Schema.String.check(Schema.isPattern(PATTERNS.password)).annotate({
  description: "The password of the device's one user, `admin`. Never stored as it is, and never shown",
});
export const PollMs = ranged(LIMITS.poll.least, LIMITS.poll.most, "Milliseconds between polls");
export const ExpiresInMs = ranged(
  LIMITS.expires.least,
  LIMITS.expires.most,
  `How long it may wait until the device can be talked to, in milliseconds; ${LIMITS.expires.usual} if left out`,
);

export const Configuration = Schema.Record(
  Schema.String.check(Schema.isPattern(PATTERNS.component)),
  Schema.Unknown,
).annotate({
  identifier: "DeviceConfiguration",
  description:
    'JSON by component, in the device\'s own words; `switch:*` means every switch. What the configuration itself does not hold stands beside as `schedules`, `webhooks`, `kvs`, `scripts`, `virtual`. A password stands as `{"$secret": "<id of a secret>"}`',
  examples: [
    { "switch:0": { name: "Lamp", auto_off: true, auto_off_delay: 300 }, sys: { device: { eco_mode: true } } },
  ],
});
export type Configuration = typeof Configuration.Type;

export const Values = Schema.Record(
  Schema.String.check(Schema.isPattern(PATTERNS.key)),
  Schema.Union([Schema.String, Schema.Finite, Schema.Boolean]),
).annotate({
  identifier: "DeviceValues",
  description: `Custom values that profiles use as \`{{name}}\`; at most ${LIMITS.values}`,
  examples: [{ room: "Kitchen", floor: 2 }],
});
export type Values = typeof Values.Type;

export const REACHES = ["new", "reachable", "asleep", "lost"] as const;
export type Reach = (typeof REACHES)[number];
export const AUTHENTICATIONS = ["unknown", "open", "accepted", "rejected", "locked-out"] as const;
export type Authentication = (typeof AUTHENTICATIONS)[number];
export const SCHEMES = ["http", "https"] as const;
export const STAGES = ["stable", "beta"] as const;
/** Who brought a field out of step: somebody else on the `device`; a change `here` that was not applied yet; both. */
export const CAUSES = ["device", "here", "both"] as const;
export type Cause = (typeof CAUSES)[number];

export const TASK_KINDS = ["apply", "firmware", "reboot", "action", "authentication", "read"] as const;
export type TaskKind = (typeof TASK_KINDS)[number];
export const TASK_STATES = [
  "queued",
  "running",
  "waiting",
  "undoing",
  "succeeded",
  "failed",
  "cancelled",
  "expired",
] as const;
export type TaskStateName = (typeof TASK_STATES)[number];
export const OUTCOMES = ["succeeded", "failed", "cancelled", "expired"] as const;
export type Outcome = (typeof OUTCOMES)[number];
/** A transient failure is tried again until the task expires; every other one ends it, and what was done is undone. */
export const FAILURE_CLASSES = ["transient", "permanent", "timeout"] as const;
export type FailureClass = (typeof FAILURE_CLASSES)[number];
/** What a task waits for: a sleeper to wake, a lost device to return, a lock-out to end, a person to give the password. */
export const WAITS = ["asleep", "away", "locked-out", "password"] as const;
export type WaitsFor = (typeof WAITS)[number];

const encoder = new TextEncoder();
/** Bytes of a value's JSON in UTF-8. */
export const jsonBytes = (value: unknown): number => encoder.encode(JSON.stringify(value) ?? "").length;
