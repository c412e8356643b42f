/** Configuration of the orchestrator, from the environment. */
import { createHash } from "node:crypto";
import { linkSync, readFileSync, unlinkSync, writeFileSync } from "node:fs";
import { isAbsolute, join, resolve } from "node:path";
import { BACKUP_SETTINGS } from "@millrace/eventlog/backup/settings.ts";
import {
  type ConfigOf,
  defineSettings,
  GIT_SETTINGS,
  IntegerBetween,
  NATS_SETTINGS,
  Text,
} from "@millrace/eventlog/settings.ts";
import * as Schema from "effect/Schema";
import * as SchemaGetter from "effect/SchemaGetter";

/** Absolute paths with a colon between them. */
const Paths: Schema.Codec<ReadonlyArray<string>, string> = Schema.String.pipe(
  Schema.decodeTo(
    Schema.Array(Schema.String.check(Schema.makeFilter((path) => isAbsolute(path) || "an absolute path"))),
    {
      decode: SchemaGetter.transform((text) => text.split(":").filter((path) => path !== "")),
      encode: SchemaGetter.transform((paths) => paths.join(":")),
    },
  ),
);

const SCOPE = /^[a-z0-9][a-z0-9.-]{0,62}$/u;

export const ORCHESTRATOR_SETTINGS = defineSettings({
  ...NATS_SETTINGS,
  ...GIT_SETTINGS,
  node: {
    variable: "MILLRACE_NODE",
    schema: Text.check(Schema.isPattern(/^[a-z0-9][a-z0-9-]{0,62}$/u)),
    describe: "Name of the node: what lives on its disk and in its Docker engine is acted on only here.",
    example: "local",
    fallback: "local",
  },
  data: {
    variable: "MILLRACE_DATA",
    schema: Text,
    describe: "The folder with all state; the node's own lies below orchestrator/<node>.",
    example: ".millrace",
    fallback: ".millrace",
  },
  masterKey: {
    variable: "MILLRACE_MASTER_KEY",
    schema: Text,
    describe:
      "The key that wraps all data keys: 32 bytes in base 64. Without it no secret of an application can be used.",
    example: "…",
    optional: true,
    secret: true,
  },
  dockerHost: {
    variable: "MILLRACE_DOCKER_HOST",
    schema: Text,
    describe: "The container engine; DOCKER_HOST or the usual socket unless set.",
    example: "unix:///var/run/docker.sock",
    optional: true,
  },
  dockerScope: {
    variable: "MILLRACE_DOCKER_SCOPE",
    schema: Text.check(Schema.isPattern(SCOPE)),
    describe:
      "Label of everything that this node makes in the engine; made from node and data folder at the first start unless set.",
    example: "local.3f2a9c01",
    optional: true,
  },
  dockerPorts: {
    variable: "MILLRACE_DOCKER_PORTS",
    schema: Text.check(Schema.isPattern(/^[0-9]{1,5}-[0-9]{1,5}$/u)),
    describe: "Host ports on 127.0.0.1 for containers, first and last; 20000-31999 unless set.",
    example: "20000-31999",
    optional: true,
  },
  publicListen: {
    variable: "MILLRACE_PUBLIC_LISTEN",
    schema: Text.check(Schema.isPattern(/^[A-Za-z0-9.:[\]-]*:[0-9]{1,5}$/u)),
    describe: "Where Caddy serves applications.",
    example: "127.0.0.1:7480",
    fallback: "127.0.0.1:7480",
  },
  caddyAdmin: {
    variable: "MILLRACE_CADDY_ADMIN",
    schema: Text,
    describe: "Caddy's admin endpoint. Without it applications are made, but nothing serves them.",
    example: "unix//run/caddy.sock",
    optional: true,
  },
  publicListenTls: {
    variable: "MILLRACE_PUBLIC_LISTEN_TLS",
    schema: Text.check(Schema.isPattern(/^[A-Za-z0-9.:[\]-]*:[0-9]{1,5}$/u)),
    describe: "Where Caddy serves applications over HTTPS; nowhere unless set.",
    example: "0.0.0.0:443",
    optional: true,
  },
  gatewayAddress: {
    variable: "MILLRACE_GATEWAY_ADDRESS",
    schema: Text.check(Schema.isPattern(/^[A-Za-z0-9.:[\]-]+:[0-9]{1,5}$/u)),
    describe: "Where Caddy asks the gateway who may read a private repository; without it none is served.",
    example: "127.0.0.1:7400",
    optional: true,
  },
  caddyStorage: {
    variable: "MILLRACE_CADDY_STORAGE",
    schema: Text,
    describe: "Folder for certificates; caddy in the data folder unless set.",
    example: "/var/lib/caddy",
    optional: true,
  },
  tls: {
    variable: "MILLRACE_APPS_TLS",
    schema: Schema.Literals(["off", "internal", "auto"]),
    describe: "Certificates of applications: off, internal (Caddy's own authority) or auto (public ones).",
    example: "off",
    fallback: "off",
  },
  ...BACKUP_SETTINGS,
  concurrency: {
    variable: "MILLRACE_DEPLOYMENTS_AT_ONCE",
    schema: IntegerBetween(1, 64),
    describe: "Applications that this process works on at the same moment.",
    example: "2",
    fallback: 2,
  },
  localSources: {
    variable: "MILLRACE_LOCAL_SOURCES",
    schema: Paths,
    describe:
      "Folders below which repositories on this machine may be used, absolute, with colons between; none unless set.",
    example: "/srv/git",
    optional: true,
  },
  bytesListen: {
    variable: "MILLRACE_BYTES_LISTEN",
    schema: Text.check(Schema.isPattern(/^[A-Za-z0-9.:[\]-]*:[0-9]{1,5}$/u)),
    describe: "Where gateways bring and fetch bytes (uploads), within the installation; port 0 is any free one.",
    example: "10.0.0.7:7490",
    fallback: "127.0.0.1:0",
  },
  uploadGib: {
    variable: "MILLRACE_UPLOAD_GIB",
    schema: IntegerBetween(1, 1_000_000),
    describe: "GiB of uploads that each organisation may have on this node.",
    example: "50",
    fallback: 50,
  },
  uploadHours: {
    variable: "MILLRACE_UPLOAD_HOURS",
    schema: IntegerBetween(1, 87_600),
    describe: "Hours after which an upload goes that nobody continues, or that no application uses.",
    example: "24",
    fallback: 24,
  },
  attachmentDays: {
    variable: "MILLRACE_ATTACHMENT_DAYS",
    schema: IntegerBetween(1, 3_650),
    describe: "Days after which the bytes of attachments go that no work item names any more.",
    example: "7",
    fallback: 7,
  },
  sampleSeconds: {
    variable: "MILLRACE_SAMPLE_SECONDS",
    schema: IntegerBetween(1, 60),
    describe: "How often the node and its containers are sampled, and alerts looked at.",
    example: "15",
    fallback: 15,
  },
  telemetryDays: {
    variable: "MILLRACE_TELEMETRY_DAYS",
    schema: IntegerBetween(36, 3_650),
    describe: "Days that samples by the hour are kept; by five minutes 35 days, by the minute one.",
    example: "400",
    fallback: 400,
  },
  telemetryMib: {
    variable: "MILLRACE_TELEMETRY_MIB",
    schema: IntegerBetween(16, 1_000_000),
    describe: "MiB that all samples may take; the oldest go first. 2048 unless set, less on a small disk.",
    example: "2048",
    optional: true,
  },
  leaseSeconds: {
    variable: "MILLRACE_LEASE_SECONDS",
    schema: IntegerBetween(1, 300),
    describe: "After how long the work of a process that gives no sign is taken over.",
    example: "10",
    fallback: 10,
  },
  reconcileSeconds: {
    variable: "MILLRACE_RECONCILE_SECONDS",
    schema: IntegerBetween(1, 3_600),
    describe: "How often what is there is compared with what the log says.",
    example: "15",
    fallback: 15,
  },
  orphanSeconds: {
    variable: "MILLRACE_ORPHAN_SECONDS",
    schema: IntegerBetween(1, 86_400),
    describe: "How old a container that belongs to nothing must be before it is removed.",
    example: "600",
    fallback: 600,
  },
});

export type OrchestratorConfig = ConfigOf<typeof ORCHESTRATOR_SETTINGS>;

/**
 * The label of what is made in the engine: of this node of this installation. Made once, from where the folder was then, and
 * kept in it: what runs is still the node's own when the folder has moved.
 * @param folder the node's own, which is there
 */
export function scopeOf(
  { dockerScope, node, data }: Pick<OrchestratorConfig, "dockerScope" | "node" | "data">,
  folder: string,
): string {
  if (dockerScope !== undefined) return dockerScope;
  const file = join(folder, "docker-scope");
  const place = createHash("sha256").update(resolve(data)).digest("hex").slice(0, 8);
  const fresh = `${node.slice(0, 50)}.${place}`;
  // Several workers of the node may begin at once: all of them write the same, whole.
  const mine = `${file}.${process.pid}`;
  writeFileSync(mine, `${fresh}\n`, { mode: 0o600, flush: true });
  try {
    linkSync(mine, file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  } finally {
    unlinkSync(mine);
  }
  const kept = readFileSync(file, "utf8").trim();
  if (!SCOPE.test(kept)) throw new Error(`${file} holds no label: remove it, or write what carries it into it`);
  return kept;
}

/** @throws Error when the range is none */
export function portsOf({
  dockerPorts,
}: Pick<OrchestratorConfig, "dockerPorts">): { from: number; to: number } | undefined {
  if (dockerPorts === undefined) return undefined;
  const [from, to] = dockerPorts.split("-").map(Number) as [number, number];
  if (from < 1 || to > 65_535 || from > to)
    throw new Error(`MILLRACE_DOCKER_PORTS: ${dockerPorts} is no range of ports`);
  return { from, to };
}
