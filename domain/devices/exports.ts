/** The fleet as files: configurations, and lists for other programs. Pure. */
import type { ExportFormat } from "@millrace/contracts/devices/exports.ts";
import type { DeviceState } from "./device-state.ts";
import { fleetJson } from "./model/exports/fleet.ts";
import { csvOf, dhcpOf, hostsOf, type Listed } from "./model/exports/lists.ts";
import { documentOfDevice, fileOfDevice, type Named } from "./sync-documents.ts";

/** What an export tells of a device. */
export type Exported = Parameters<typeof documentOfDevice>[0] &
  Pick<DeviceState, "title" | "firmware" | "address" | "reach">;

export interface ExportFile {
  readonly name: string;
  readonly text: string;
}

const listed =
  ({ groups }: Named) =>
  ({ mac, name, title, identity, address, firmware, reach, groups: of, tags }: Exported): Listed => ({
    mac,
    name: title ?? name,
    hostname: identity?.hostname ?? name,
    address: address?.host ?? null,
    model: identity?.model ?? "",
    generation: identity?.gen ?? 0,
    firmware: firmware?.version ?? "",
    reach,
    groups: of.map((id) => groups.get(id) ?? id).sort(),
    tags,
  });

/** @param domain of `hosts`: of the names in it */
export function filesOf(
  format: ExportFormat,
  devices: ReadonlyArray<Exported>,
  named: Named,
  domain?: string,
): ReadonlyArray<ExportFile> {
  if (format === "toml") {
    return devices
      .map((device) => fileOfDevice(device, named))
      .map(({ file: name, text }) => ({ name, text }))
      .sort((a, b) => (a.name < b.name ? -1 : 1));
  }
  if (format === "json") {
    return [{ name: "devices.json", text: fleetJson(devices.map((device) => documentOfDevice(device, named))) }];
  }
  const rows = devices.map(listed(named));
  switch (format) {
    case "csv":
      return [{ name: "devices.csv", text: csvOf(rows) }];
    case "hosts":
      return [{ name: "hosts", text: hostsOf(rows, domain) }];
    case "dnsmasq":
      return [{ name: "dnsmasq.conf", text: dhcpOf(rows, format) }];
    case "isc":
      return [{ name: "dhcpd.conf", text: dhcpOf(rows, format) }];
    case "kea":
      return [{ name: "kea.json", text: dhcpOf(rows, format) }];
  }
}
