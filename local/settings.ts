/**
 * The settings of `mill up`: each from a flag, the environment (`MILLRACE_…`), or `millrace.toml`, in this order, or
 * its default. What is wrong is an error that names every wrong value at once.
 */
import { existsSync, readFileSync } from "node:fs";
import { delimiter, dirname, join, resolve } from "node:path";
import { parse } from "smol-toml";
import { backupDeclarations } from "./backup-settings.ts";
import { deviceDeclarations } from "./device-settings.ts";
import { publishingDeclarations } from "./publishing-settings.ts";
import {
  address,
  amount,
  distance,
  flag,
  hostName,
  oneOf,
  path,
  paths,
  port,
  type Reader,
  sync,
  text,
  url,
  whole,
} from "./setting-values.ts";

export interface Declaration<T> {
  /** The name in the environment. */
  readonly env: string;
  /** The dotted key in `millrace.toml`. */
  readonly key: string;
  readonly read: Reader<T>;
  /** As it would be written; undefined: not set. */
  readonly fallback: string | undefined;
  /** Never shown. */
  readonly secret?: boolean;
  readonly meaning: string;
}

const declarations = {
  data: { env: "MILLRACE_DATA", key: "data", read: path, fallback: ".millrace", meaning: "the folder with all state" },
  host: {
    env: "MILLRACE_HOST",
    key: "host",
    read: address,
    fallback: "127.0.0.1",
    meaning: "where the gateway listens",
  },
  port: { env: "MILLRACE_PORT", key: "port", read: port, fallback: "7400", meaning: "the gateway's port" },
  processes: {
    env: "MILLRACE_PROCESSES",
    key: "processes",
    read: oneOf("each", "one"),
    fallback: "each",
    meaning: "each: every service a process of its own; one: all services in one, for small machines",
  },
  logLevel: {
    env: "MILLRACE_LOG_LEVEL",
    key: "log.level",
    read: oneOf("trace", "debug", "info", "warn", "error"),
    fallback: "info",
    meaning: "the least level that the services log",
  },
  masterKeyFile: {
    env: "MILLRACE_MASTER_KEY_FILE",
    key: "secrets.master_key_file",
    read: path,
    fallback: undefined,
    meaning: "the key that wraps all keys; default secrets/master.key in the data folder",
  },
  ownerTokenFile: {
    env: "MILLRACE_OWNER_TOKEN_FILE",
    key: "secrets.owner_token_file",
    read: path,
    fallback: undefined,
    meaning: "the owner's first token; default secrets/owner.token in the data folder",
  },
  natsUrl: {
    env: "MILLRACE_NATS_URL",
    key: "nats.url",
    read: url("nats", "tls"),
    fallback: undefined,
    meaning: "a NATS server of yours, instead of one started here",
  },
  natsUser: { env: "MILLRACE_NATS_USER", key: "nats.user", read: text, fallback: undefined, meaning: "its user" },
  natsPassword: {
    env: "MILLRACE_NATS_PASSWORD",
    key: "nats.password",
    read: text,
    fallback: undefined,
    secret: true,
    meaning: "its password",
  },
  natsPort: {
    env: "MILLRACE_NATS_PORT",
    key: "nats.port",
    read: port,
    fallback: "0",
    meaning: "of the one started here",
  },
  natsHost: {
    env: "MILLRACE_NATS_HOST",
    key: "nats.host",
    read: address,
    fallback: undefined,
    meaning:
      "address that the one started here listens on; 127.0.0.1 unless set, others let subscribers in from elsewhere",
  },
  natsPublicUrl: {
    env: "MILLRACE_NATS_PUBLIC_URL",
    key: "nats.public_url",
    read: text,
    fallback: undefined,
    meaning: "where subscribers reach NATS, as they are told",
  },
  natsTlsCert: {
    env: "MILLRACE_NATS_TLS_CERT",
    key: "nats.tls_cert",
    read: text,
    fallback: undefined,
    meaning: "certificate (PEM, with its chain) of the one started here: subscribers are let in over TLS only then",
  },
  natsTlsKey: {
    env: "MILLRACE_NATS_TLS_KEY",
    key: "nats.tls_key",
    read: text,
    fallback: undefined,
    meaning: "file with the key of that certificate (PEM)",
  },
  natsMonitorPort: {
    env: "MILLRACE_NATS_MONITOR_PORT",
    key: "nats.monitor_port",
    read: port,
    fallback: undefined,
    meaning: "the NATS server's own HTTP monitoring; off unless set",
  },
  natsSync: {
    env: "MILLRACE_NATS_SYNC",
    key: "nats.sync",
    read: sync,
    fallback: "always",
    meaning: "when the log is synced; anything but always loses acknowledged changes in a power cut",
  },
  natsMemory: {
    env: "MILLRACE_NATS_MEMORY",
    key: "nats.memory",
    read: amount,
    fallback: undefined,
    meaning: "soft memory limit of the NATS server",
  },
  natsServer: {
    env: "MILLRACE_NATS_SERVER",
    key: "nats.program",
    read: path,
    fallback: undefined,
    meaning: "the nats-server program (2.12 or later); found or brought unless set",
  },
  feedDays: {
    env: "MILLRACE_FEED_DAYS",
    key: "feed.days",
    read: whole(1, 3_650),
    fallback: undefined,
    meaning: "days that the public feed of each context goes back; 30 unless set",
  },
  feedGib: {
    env: "MILLRACE_FEED_GIB",
    key: "feed.gib",
    read: whole(1, 100_000),
    fallback: undefined,
    meaning: "GiB that the public feed of each context takes at the most; 10 unless set",
  },
  logDays: {
    env: "MILLRACE_LOG_DAYS",
    key: "logs.days",
    read: whole(1, 3_650),
    fallback: undefined,
    meaning: "days that log lines of builds and applications are kept; 30 unless set",
  },
  logGib: {
    env: "MILLRACE_LOG_GIB",
    key: "logs.gib",
    read: whole(1, 100_000),
    fallback: undefined,
    meaning: "GiB that all log lines together take at the most, compressed; 10 unless set",
  },
  postgresUrl: {
    env: "MILLRACE_POSTGRES_URL",
    key: "postgres.url",
    read: url("postgres", "postgresql"),
    fallback: undefined,
    secret: true,
    meaning: "a PostgreSQL of yours, instead of one started here",
  },
  postgresPort: {
    env: "MILLRACE_POSTGRES_PORT",
    key: "postgres.port",
    read: port,
    fallback: "0",
    meaning: "of the one started here",
  },
  caddy: {
    env: "MILLRACE_CADDY",
    key: "caddy.program",
    read: path,
    fallback: undefined,
    meaning: "the caddy program (2.8 or later); found or brought unless set",
  },
  publicPort: {
    env: "MILLRACE_PUBLIC_PORT",
    key: "apps.port",
    read: port,
    fallback: undefined,
    meaning: "where applications are reached; unless set, the gateway's port + 80 or another free one",
  },
  publicHost: {
    env: "MILLRACE_PUBLIC_HOST",
    key: "apps.host",
    read: address,
    fallback: undefined,
    meaning: "the address on which applications are reached; unless set, the gateway's",
  },
  publicTlsPort: {
    env: "MILLRACE_PUBLIC_TLS_PORT",
    key: "apps.tls_port",
    read: port,
    fallback: undefined,
    meaning: "where applications are reached over HTTPS; off unless set",
  },
  tls: {
    env: "MILLRACE_TLS",
    key: "apps.tls",
    read: oneOf("off", "internal", "auto"),
    fallback: "off",
    meaning:
      "whose certificates HTTPS uses: an authority of its own (internal), or public ones for public names (auto)",
  },
  appsDomain: {
    env: "MILLRACE_APPS_DOMAIN",
    key: "apps.domain",
    read: hostName,
    fallback: "localhost",
    meaning: "applications are <name>.<organisation>.<this>, until they have domains of their own",
  },
  localSources: {
    env: "MILLRACE_LOCAL_SOURCES",
    key: "apps.local_sources",
    read: paths,
    fallback: "",
    meaning: "folders whose Git repositories may be deployed by path, beside local-sources in the data folder",
  },
  ...backupDeclarations,
  ...deviceDeclarations,
  ...publishingDeclarations,
  bring: {
    env: "MILLRACE_BRING",
    key: "bring",
    read: flag,
    fallback: "true",
    meaning: "whether missing programs are downloaded",
  },
} as const satisfies Record<string, Declaration<unknown>>;

type Declarations = typeof declarations;
export type SettingName = keyof Declarations;

/** The values: a setting without default may be undefined. */
export type Settings = {
  readonly [Name in SettingName]:
    | ReturnType<Declarations[Name]["read"]>
    | (Declarations[Name]["fallback"] extends string ? never : undefined);
};

export interface SettingSource {
  /** "flag", "MILLRACE_PORT", "millrace.toml: port", or "default". */
  readonly origin: string;
  /** As it was written. */
  readonly text: string | undefined;
}

export interface LoadedSettings {
  readonly values: Settings;
  readonly sources: Readonly<Record<SettingName, SettingSource>>;
  /** The file that was read, if any. */
  readonly file: string | undefined;
}

export interface ReadSettings {
  /** Relative paths from flags and the environment start here, and `millrace.toml` is looked for here. */
  readonly folder: string;
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** What was given on the command line, as text. */
  readonly flags?: Partial<Record<SettingName, string>>;
}

/** Settings that cannot be used; `problems` has one sentence for each. */
export class SettingsError extends Error {
  readonly problems: readonly string[];
  constructor(problems: readonly string[]) {
    super(problems.join("\n"));
    this.name = "SettingsError";
    this.problems = problems;
  }
}

/**
 * Reads and checks all settings. The file is `MILLRACE_CONFIG`, else `millrace.toml` in the folder, if it is there.
 * @throws SettingsError naming every wrong value and unknown key.
 */
export function readSettings({ folder, env = process.env, flags = {} }: ReadSettings): LoadedSettings {
  const problems: string[] = [];
  const file = env.MILLRACE_CONFIG ? resolve(folder, env.MILLRACE_CONFIG) : join(folder, "millrace.toml");
  const isThere = existsSync(file);
  if (env.MILLRACE_CONFIG && !isThere) problems.push(`MILLRACE_CONFIG: there is no ${file}.`);
  const written = isThere ? readFile(file, problems) : new Map<string, string>();
  const values: Record<string, unknown> = {};
  const sources: Record<string, SettingSource> = {};
  for (const [name, declaration] of Object.entries(declarations) as [SettingName, Declaration<unknown>][]) {
    const fromFile = written.get(declaration.key);
    written.delete(declaration.key);
    const fromEnv = env[declaration.env] || undefined; // empty is unset, as in a Compose file
    const fromFlag = flags[name];
    const source: SettingSource =
      fromFlag !== undefined
        ? { origin: "flag", text: fromFlag }
        : fromEnv !== undefined
          ? { origin: declaration.env, text: fromEnv }
          : fromFile !== undefined
            ? { origin: `${file}: ${declaration.key}`, text: fromFile }
            : { origin: "default", text: declaration.fallback };
    sources[name] = source;
    if (source.text === undefined) continue;
    try {
      // A relative path in the file is meant from the file; and a default from where one stands.
      values[name] = declaration.read(source.text, source.origin.startsWith(file) ? dirname(file) : folder);
    } catch (error) {
      const shown = declaration.secret ? "the value" : `"${source.text}"`;
      problems.push(`${source.origin}: ${shown} is not ${(error as Error).message}.`);
    }
  }
  for (const key of written.keys()) problems.push(`${file}: there is no setting ${key}.${nearest(key)}`);
  if (problems.length > 0) throw new SettingsError(problems);
  return {
    values: values as Settings,
    sources: sources as LoadedSettings["sources"],
    file: isThere ? file : undefined,
  };
}

export interface DescribedSetting {
  readonly name: SettingName;
  readonly env: string;
  readonly key: string;
  /** A secret is shown as "(set)". Unset: "". */
  readonly value: string;
  readonly origin: string;
  readonly meaning: string;
}

/** All settings with their values and where these came from, for `mill config`. Holds no secret. */
export function describeSettings(loaded: LoadedSettings): DescribedSetting[] {
  return (Object.entries(declarations) as [SettingName, Declaration<unknown>][]).map(([name, declaration]) => {
    const value = loaded.values[name];
    const text = Array.isArray(value) ? value.join(delimiter) : String(value);
    const shown = value === undefined ? "" : declaration.secret ? "(set)" : text;
    const { env, key, meaning } = declaration;
    return { name, env, key, value: shown, origin: loaded.sources[name].origin, meaning };
  });
}

function readFile(file: string, problems: string[]): Map<string, string> {
  const found = new Map<string, string>();
  const collect = (table: object, prefix: string) => {
    for (const [key, value] of Object.entries(table)) {
      const name = prefix + key;
      if (typeof value === "object" && value !== null && !Array.isArray(value)) collect(value, `${name}.`);
      else found.set(name, Array.isArray(value) ? value.join(delimiter) : String(value));
    }
  };
  try {
    collect(parse(readFileSync(file, "utf8")), "");
  } catch (error) {
    problems.push(`${file}: ${(error as Error).message}`);
  }
  return found;
}

/** " Did you mean nats.port?" for a key that differs from a known one in two letters at most, else nothing. */
function nearest(key: string): string {
  const known = Object.values(declarations).map((declaration) => declaration.key as string);
  const best = known.map((name) => ({ name, away: distance(key, name) })).sort((a, b) => a.away - b.away)[0];
  return best && best.away <= 2 ? ` Did you mean ${best.name}?` : "";
}
