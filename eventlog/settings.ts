/**
 * Configuration from the environment: a table of settings per service, each with its variable, a Schema that reads the text,
 * and a sentence. All of it is checked at start and every fault is told at once; secrets are never echoed.
 */
import { readFileSync } from "node:fs";
import * as Schema from "effect/Schema";
import * as SchemaGetter from "effect/SchemaGetter";
import { rangesFault } from "./addresses.ts";
import type { StreamSettings } from "./connection.ts";
import type { LogLimits } from "./logs-stream.ts";

export interface Setting<A> {
  /** `MILLRACE_…` */
  readonly variable: string;
  /** Reads the variable's text. */
  readonly schema: Schema.Codec<A, string>;
  /** One sentence: what it is, with its unit. */
  readonly describe: string;
  /** A value to show, as text. */
  readonly example: string;
  /** Taken when the variable is unset or empty. */
  readonly fallback?: A;
  /** Unset is `undefined`. */
  readonly optional?: boolean;
  /** Its value is never shown, and it may stand in a file named by `<variable>_FILE` instead. */
  readonly secret?: boolean;
}

export type Settings = Readonly<Record<string, Setting<any>>>;

export type ConfigOf<S extends Settings> = {
  readonly [K in keyof S as S[K] extends { readonly optional: true } ? never : K]: S[K]["schema"]["Type"];
} & {
  readonly [K in keyof S as S[K] extends { readonly optional: true } ? K : never]?: S[K]["schema"]["Type"] | undefined;
};

/** Keeps the literal types of a table, so that `ConfigOf` knows what is optional. */
export const defineSettings = <const S extends Settings>(settings: S): S => settings;

export type Environment = Readonly<Record<string, string | undefined>>;

/** Faults of the configuration, each naming variable and fix. */
export class SettingsInvalid extends Error {
  readonly _tag = "SettingsInvalid";
  readonly faults: ReadonlyArray<string>;
  constructor(faults: ReadonlyArray<string>) {
    super(`The configuration is not valid:\n${faults.map((fault) => `  - ${fault}`).join("\n")}`);
    this.faults = faults;
  }
}

/** @throws SettingsInvalid with every fault found */
export function readSettings<S extends Settings>(settings: S, env: Environment): ConfigOf<S> {
  const faults: string[] = [];
  const config: Record<string, unknown> = {};
  for (const [name, setting] of Object.entries(settings)) {
    try {
      config[name] = readOne(setting, env);
    } catch (fault) {
      faults.push((fault as Error).message);
    }
  }
  if (faults.length > 0) throw new SettingsInvalid(faults);
  return config as ConfigOf<S>;
}

function readOne(setting: Setting<unknown>, env: Environment): unknown {
  const { variable, describe, example } = setting;
  const shown = setting.secret === true ? `${variable}_FILE to a file that holds it` : `${variable}=${example}`;
  const text = textOf(setting, env);
  if (text === undefined) {
    if ("fallback" in setting) return setting.fallback;
    if (setting.optional === true) return undefined;
    throw new Error(`${variable} is not set. ${describe} Set ${shown}.`);
  }
  try {
    return Schema.decodeUnknownSync(setting.schema)(text);
  } catch (error) {
    // What Schema says may repeat the value.
    const why =
      setting.secret === true
        ? "its value is hidden"
        : String((error as Error).message)
            .split("\n")[0]!
            .slice(0, 200);
    throw new Error(`${variable} is not valid (${why}). ${describe} Set ${shown}.`);
  }
}

function textOf({ variable, secret }: Setting<unknown>, env: Environment): string | undefined {
  const text = env[variable];
  if (text !== undefined && text !== "") return text;
  const file = secret === true ? env[`${variable}_FILE`] : undefined;
  if (file === undefined || file === "") return undefined;
  try {
    return readFileSync(file, "utf8").replace(/\r?\n$/, "");
  } catch (error) {
    throw new Error(
      `${variable}_FILE names ${file}, which cannot be read (${(error as { code?: string }).code ?? "error"}). Make it readable for this user, or set another file.`,
    );
  }
}

/** What is set, for `mill config` and the first log line: secrets only as "set" or "not set". */
export function describeSettings(
  settings: Settings,
  env: Environment,
): ReadonlyArray<{ readonly variable: string; readonly value: string; readonly describe: string }> {
  return Object.values(settings).map((setting) => {
    const { variable, describe, secret, fallback } = setting;
    const set = (env[variable] ?? "") !== "" || (secret === true && (env[`${variable}_FILE`] ?? "") !== "");
    const value =
      secret === true
        ? set
          ? "(set)"
          : "(not set)"
        : set
          ? env[variable]!
          : fallback === undefined
            ? ""
            : String(fallback);
    return { variable, value, describe };
  });
}

export const Text = Schema.String.check(Schema.isMinLength(1), Schema.isMaxLength(4_096));

/** An integer within limits, both inclusive. */
export const IntegerBetween = (minimum: number, maximum: number): Schema.Codec<number, string> =>
  // The pattern first: JavaScript reads a blank text as 0.
  Schema.String.check(Schema.isPattern(/^-?[0-9]{1,15}$/u)).pipe(
    Schema.decodeTo(Schema.Number.check(Schema.isBetween({ minimum, maximum })), {
      decode: SchemaGetter.transform(Number),
      encode: SchemaGetter.transform(String),
    }),
  );

/** 0: any free port. */
export const Port = IntegerBetween(0, 65_535);

/** `1`, `true`, `yes` or `0`, `false`, `no`. */
export const Flag: Schema.Codec<boolean, string> = Schema.Literals(["1", "true", "yes", "0", "false", "no"]).pipe(
  Schema.decodeTo(Schema.Boolean, {
    decode: SchemaGetter.transform((text) => text === "1" || text === "true" || text === "yes"),
    encode: SchemaGetter.transform((flag) => (flag ? ("1" as const) : ("0" as const))),
  }),
);

/** How to reach the log: the same for every service. */
export const NATS_SETTINGS = defineSettings({
  natsUrl: {
    variable: "MILLRACE_NATS_URL",
    schema: Text,
    describe: "Address of NATS; several, separated by commas, in a cluster.",
    example: "nats://127.0.0.1:4222",
    fallback: "nats://127.0.0.1:4222",
  },
  natsUser: {
    variable: "MILLRACE_NATS_USER",
    schema: Text,
    describe: "User for NATS.",
    example: "millrace",
    optional: true,
  },
  natsPassword: {
    variable: "MILLRACE_NATS_PASSWORD",
    schema: Text,
    describe: "Password of that user.",
    example: "…",
    optional: true,
    secret: true,
  },
  replicas: {
    variable: "MILLRACE_REPLICAS",
    schema: Schema.Literals(["1", "3"]).pipe(
      Schema.decodeTo(Schema.Literals([1, 3]), {
        decode: SchemaGetter.transform((text) => (text === "3" ? (3 as const) : (1 as const))),
        encode: SchemaGetter.transform((count) => (count === 3 ? ("3" as const) : ("1" as const))),
      }),
    ),
    describe: "Copies of every stream: 1 on one machine, 3 in a cluster.",
    example: "1",
    fallback: 1,
  },
  feedDays: {
    variable: "MILLRACE_FEED_DAYS",
    schema: IntegerBetween(1, 3_650),
    describe: "Days that the public feed of each context goes back; 30 unless set. The log itself is kept for ever.",
    example: "30",
    optional: true,
  },
  feedGib: {
    variable: "MILLRACE_FEED_GIB",
    schema: IntegerBetween(1, 100_000),
    describe: "GiB that the public feed of each context takes at the most; 10 unless set, less on a small disk.",
    example: "10",
    optional: true,
  },
  logDays: {
    variable: "MILLRACE_LOG_DAYS",
    schema: IntegerBetween(1, 3_650),
    describe: "Days that log lines of builds and applications are kept; 30 unless set.",
    example: "30",
    optional: true,
  },
  logGib: {
    variable: "MILLRACE_LOG_GIB",
    schema: IntegerBetween(1, 100_000),
    describe: "GiB that all log lines together take at the most, compressed; 10 unless set, less on a small disk.",
    example: "10",
    optional: true,
  },
});

/** What the settings say of the stream of log lines. */
export const logLimits = (config: ConfigOf<typeof NATS_SETTINGS>): LogLimits => ({
  ...(config.logDays === undefined ? {} : { maxAgeMs: config.logDays * 86_400_000 }),
  ...(config.logGib === undefined ? {} : { maxBytes: config.logGib * 1024 ** 3 }),
});

/** What the settings say of the streams. */
export const streamSettings = (config: ConfigOf<typeof NATS_SETTINGS>): StreamSettings => ({
  replicas: config.replicas,
  ...(config.feedDays === undefined ? {} : { feedMaxAgeMs: config.feedDays * 86_400_000 }),
  ...(config.feedGib === undefined ? {} : { feedMaxBytes: config.feedGib * 1024 ** 3 }),
});

/** Where requests that somebody else chose may go: webhooks and channels. */
export const OUTGOING_SETTINGS = defineSettings({
  webhookAllow: {
    variable: "MILLRACE_WEBHOOK_ALLOW",
    schema: Text.check(Schema.makeFilter((text) => rangesFault(rangesOf(text)) ?? true)),
    describe:
      "Private addresses that webhooks and channels may be sent to all the same, as ranges (CIDR) separated by commas; none unless set.",
    example: "192.168.1.0/24",
    optional: true,
  },
});

/** Of services that clone. */
export const GIT_SETTINGS = defineSettings({
  knownHosts: {
    variable: "MILLRACE_KNOWN_HOSTS",
    schema: Text.check(Schema.isPattern(/^\/[^\n"]*$/u)),
    describe:
      "File with the keys of Git servers, as OpenSSH's known_hosts, absolute: by SSH no other server is talked to. Unless set, the key that a server shows first is kept, and no other believed.",
    example: "/etc/ssh/ssh_known_hosts",
    optional: true,
  },
});

/** Whom services believe that send to addresses which others chose. */
export const AUTHORITY_SETTINGS = defineSettings({
  outgoingCa: {
    variable: "MILLRACE_OUTGOING_CA",
    schema: Text,
    describe:
      "Authorities whose certificates are believed of webhooks' and channels' receivers beside the usual public ones: `system`, for those of the operating system, or files in PEM, separated by commas.",
    example: "system",
    optional: true,
  },
});

/** @param text as `MILLRACE_WEBHOOK_ALLOW` has it */
export const rangesOf = (text: string | undefined): ReadonlyArray<string> =>
  (text ?? "").split(/[\s,]+/).filter((range) => range !== "");

/** How to reach PostgreSQL. */
export const POSTGRES_SETTINGS = defineSettings({
  postgresUrl: {
    variable: "MILLRACE_POSTGRES_URL",
    schema: Text,
    describe: "Address of the PostgreSQL database for what can be asked.",
    example: "postgres://user:password@127.0.0.1:5432/millrace",
    secret: true,
  },
});
