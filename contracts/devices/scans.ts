/** Scans: looking for devices by mDNS and in ranges of addresses. Entities, events, endpoints. */
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint";
import * as HttpApiGroup from "effect/http-api/HttpApiGroup";
import * as OpenApi from "effect/http-api/OpenApi";
import * as Schema from "effect/Schema";
import { getOf, listOf } from "../endpoints.ts";
import type { PublicEvents } from "../events.ts";
import {
  ActorShown,
  accepted,
  commandHeaders,
  entity,
  entityParams,
  ORGANISATION,
  organisationParams,
  says,
  Time,
  textFilter,
} from "../http.ts";
import { historyOf } from "../past.ts";
import { Address, Firmware } from "./device-parts.ts";
import { DeviceId, LIMITS, Mac, ScanId, Site, Tags } from "./values.ts";

const { optionalKey } = Schema;
const text = (description: string) => Schema.String.annotate({ description });
const count = (description: string) => Schema.Int.annotate({ description });

export const SCAN_STATES = ["requested", "running", "completed", "failed", "cancelled"] as const;

const Range = Schema.String.check(
  Schema.isPattern(/^[0-9]{1,3}(\.[0-9]{1,3}){3}(\/[0-9]{1,2}|-[0-9]{1,3}(\.[0-9]{1,3}){3})?(:[0-9]{1,5})?$/u),
).annotate({
  description: "IPv4: one address, `a.b.c.d/n` or `a.b.c.d-e.f.g.h`; with `:port` for another port than 80",
  examples: ["192.168.1.0/24"],
});

const asked = {
  site: Site,
  mdns: Schema.Boolean.annotate({ description: "Ask the network by multicast DNS" }),
  ranges: Schema.Array(Range)
    .check(Schema.isMaxLength(LIMITS.ranges))
    .annotate({ description: `Addresses that are tried one by one, at most ${LIMITS.addresses} of them together` }),
  adopt: Schema.Boolean.annotate({ description: "Take what is found, and was not known, into the fleet at once" }),
  tags: Tags,
};
export const StartScan = Schema.Struct({
  site: optionalKey(asked.site),
  mdns: optionalKey(asked.mdns),
  ranges: optionalKey(asked.ranges),
  adopt: optionalKey(asked.adopt),
  tags: optionalKey(asked.tags.annotate({ description: "Of what is taken in" })),
}).annotate({
  identifier: "StartScan",
  description: "Left out: the site `home`, by mDNS, and nothing is taken in",
  examples: [{ ranges: ["192.168.1.0/24"] }],
});
export const ImportFindings = Schema.Struct({
  macs: optionalKey(
    Schema.Array(Mac)
      .check(Schema.isMinLength(1), Schema.isMaxLength(LIMITS.import))
      .annotate({ description: `Which of them; left out: all, at most ${LIMITS.import} at a time` }),
  ),
  tags: optionalKey(Tags),
}).annotate({ identifier: "ImportFindings" });

export const Finding = Schema.Struct({
  mac: Schema.String,
  address: Address,
  gen: Schema.Int,
  model: Schema.String,
  hostname: text("What it calls itself in networks"),
  name: optionalKey(text("Given by people, on the device")),
  firmware: Firmware,
  authentication: Schema.Boolean.annotate({ description: "It asks for a password" }),
  by: Schema.Literals(["mdns", "range"]),
}).annotate({ identifier: "ScanFinding" });
export type Finding = typeof Finding.Type;

export const ScanSpec = Schema.Struct(asked);
export const Scan = Schema.Struct({
  ...entity(
    ScanId,
    ScanSpec,
    Schema.Struct({
      state: Schema.Literals(SCAN_STATES),
      probed: count("Addresses that were tried"),
      findings: Schema.Array(Finding),
      failure: optionalKey(Schema.Struct({ code: Schema.String, message: Schema.String, fix: Schema.String })),
      finishedAt: optionalKey(Time),
    }),
  ).fields,
  requestedBy: ActorShown,
}).annotate({ identifier: "DeviceScan" });

export const Imported = Schema.Struct({
  items: Schema.Array(
    Schema.Struct({
      mac: Schema.String,
      device: optionalKey(DeviceId),
      outcome: Schema.Literals(["added", "known", "refused"]),
      reason: optionalKey(Schema.String),
    }),
  ),
}).annotate({ identifier: "ImportedFindings", description: "What became of each" });

export const ScanRequested = Schema.Struct({
  site: text("Where"),
  mdns: Schema.Boolean,
  ranges: Schema.Array(Schema.String),
  adopt: Schema.Boolean,
  tags: Schema.Array(Schema.String),
});
const worker = text("Which agent");
export const ScanStarted = Schema.Struct({ attempt: Schema.Int, worker });
export const DevicesFound = Schema.Struct({ findings: Schema.Array(Finding) });
export const ScanCompleted = Schema.Struct({ found: count("Devices"), probed: count("Addresses that were tried") });
export const ScanFailed = Schema.Struct({ code: Schema.String, message: Schema.String, fix: Schema.String });
export const ScanCancelled = Schema.Struct({});

export const scanEvents = {
  ScanRequested: { version: 1, data: ScanRequested, description: "Somebody asked for devices to be looked for." },
  ScanStarted: { version: 1, data: ScanStarted, description: "An agent began to look for devices." },
  DevicesFound: { version: 1, data: DevicesFound, description: "A scan found devices, or found them elsewhere." },
  ScanCompleted: { version: 1, data: ScanCompleted, description: "A scan has looked everywhere." },
  ScanFailed: { version: 1, data: ScanFailed, description: "A scan could not be done." },
  ScanCancelled: { version: 1, data: ScanCancelled, description: "A scan was cancelled; what was found stays." },
} as const satisfies PublicEvents;

const scans = `${ORGANISATION}/device-scans` as const;
const scan = `${scans}/:id` as const;
export const ListedScan = Schema.Struct({
  ...Scan.fields,
  status: Schema.Struct({
    ...(({ findings: _, ...listed }) => listed)(Scan.fields.status.fields),
    found: count("Devices that were found"),
  }),
}).annotate({ identifier: "ListedDeviceScan", description: "A scan without its findings" });

export const deviceScansApi = HttpApiGroup.make("deviceScans")
  .add(
    HttpApiEndpoint.post("startScan", scans, {
      params: organisationParams,
      headers: commandHeaders,
      payload: StartScan,
      success: accepted(Scan),
    }).annotateMerge(says("devices:edit", "Have an agent of a site look for devices")),
  )
  .add(
    listOf("listScans", scans, ListedScan, {
      site: textFilter("Where"),
      state: optionalKey(Schema.Literals(SCAN_STATES)),
    }).annotateMerge(says("devices:read", "List scans")),
  )
  .add(
    getOf("getScan", scan, Scan).annotateMerge(says("devices:read", "A scan and what it found, as it is or as it was")),
  )
  .add(
    HttpApiEndpoint.post("cancelScan", `${scan}/cancel`, {
      params: entityParams,
      headers: commandHeaders,
      success: accepted(Scan),
    }).annotateMerge(says("devices:edit", "Cancel a scan; what was found stays")),
  )
  .add(
    HttpApiEndpoint.post("importFindings", `${scan}/import`, {
      params: entityParams,
      payload: ImportFindings,
      success: Imported,
    }).annotateMerge(
      says("devices:edit", "Take what a scan found into the fleet", "Done again it adds what is not there yet."),
    ),
  )
  .add(historyOf("historyOfScan", scan).annotateMerge(says("devices:read", "What happened in a scan")))
  .annotateMerge(OpenApi.annotations({ title: "Scans", description: "Devices looked for in a network" }));
