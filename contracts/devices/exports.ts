/** The fleet out and in: configurations as JSON or TOML, and lists for other programs. */
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint";
import * as HttpApiGroup from "effect/http-api/HttpApiGroup";
import * as OpenApi from "effect/http-api/OpenApi";
import * as Schema from "effect/Schema";
import { ORGANISATION, organisationParams, queryHeaders, says } from "../http.ts";
import { Expensive } from "../permissions.ts";
import { deviceFilters } from "./api.ts";
import { SyncFault, SyncStep } from "./syncs.ts";
import { LIMITS, Site } from "./values.ts";

const { optionalKey } = Schema;
const count = (description: string) => Schema.Int.annotate({ description });

/** `dnsmasq`, `isc` and `kea` are reservations for DHCP servers. */
export const EXPORT_FORMATS = ["json", "toml", "csv", "hosts", "dnsmasq", "isc", "kea"] as const;
export type ExportFormat = (typeof EXPORT_FORMATS)[number];

const FileName = Schema.String.check(Schema.isPattern(/^[A-Za-z0-9][A-Za-z0-9._-]{0,119}$/u));
/** Path of a file within an export, and what stands in it. */
const File = Schema.Struct({ name: Schema.String, text: Schema.String });

export const DeviceExport = Schema.Struct({
  format: Schema.Literals(EXPORT_FORMATS),
  devices: count("How many devices there were to write"),
  files: Schema.Array(File).annotate({ description: "One; of `toml` one for each device, named as it is" }),
}).annotate({
  identifier: "DeviceExport",
  description:
    "The same to the byte while nothing has changed. Without state and secrets where it is configuration (`json`, `toml`)",
});

export const ImportDevices = Schema.Struct({
  files: optionalKey(
    Schema.Record(FileName, Schema.String).annotate({ description: "Texts of TOML by name of their file" }),
  ),
  fleet: optionalKey(
    Schema.Struct({
      format: Schema.Literal("millrace.devices"),
      version: Schema.Literal(1),
      devices: Schema.Array(Schema.Unknown).check(Schema.isMaxLength(LIMITS.import)),
    }).annotate({ description: `What an export to \`json\` has written; at most ${LIMITS.import} devices at a time` }),
  ),
  site: optionalKey(Site.annotate({ description: "Where devices that are new stand; `home` if left out" })),
  dryRun: optionalKey(Schema.Boolean.annotate({ description: "Say what would change, and change nothing" })),
}).annotate({
  identifier: "ImportDevices",
  description: `Of \`files\` and \`fleet\` exactly one; at most ${LIMITS.import} devices at a time`,
});

export const DevicesImported = Schema.Struct({
  steps: Schema.Array(SyncStep),
  same: count("Devices that are as it says already"),
  applied: count("Devices that were changed or added"),
  refused: Schema.Array(SyncFault).annotate({ description: "Devices that were changed by others meanwhile" }),
}).annotate({ identifier: "DevicesImported" });

const { name: _, mac: __, host: ___, firmware: ____, ...filters } = deviceFilters;

export const deviceExportsApi = HttpApiGroup.make("deviceExports")
  .add(
    HttpApiEndpoint.get("exportDevices", `${ORGANISATION}/devices/export`, {
      params: organisationParams,
      headers: queryHeaders,
      query: {
        format: Schema.Literals(EXPORT_FORMATS),
        domain: optionalKey(
          Schema.String.check(Schema.isPattern(/^[a-z0-9]([a-z0-9.-]{0,200}[a-z0-9])?$/u)).annotate({
            description: "Of `hosts`: the domain of the names",
          }),
        ),
        ...filters,
      },
      success: DeviceExport,
    })
      .annotate(Expensive, true)
      .annotateMerge(says("devices:read", "Write the fleet to files: its configuration, or lists for other programs")),
  )
  .add(
    HttpApiEndpoint.post("importDevices", `${ORGANISATION}/devices/import`, {
      params: organisationParams,
      payload: ImportDevices,
      success: DevicesImported,
    })
      .annotate(Expensive, true)
      .annotateMerge(
        says(
          "devices:configure",
          "Take in what an export has written",
          "What it says becomes what is wanted; what it does not say stays, and a device that is not there is added, which takes `devices:edit`. Where anything is wrong, all of it is told and nothing is taken in. Nothing is written to a device before it is applied.",
        ),
      ),
  )
  .annotateMerge(OpenApi.annotations({ title: "Devices out and in", description: "Exports, and imports of them" }));
