/** The fleet as lists for other programs: CSV, a hosts file, DHCP reservations. Whatever a device calls itself, it stays a name. */
import { macWithColons } from "../identity.ts";

export interface Listed {
  readonly mac: string;
  /** Given by people; anything. */
  readonly name: string | null;
  /** What it calls itself in networks. */
  readonly hostname: string;
  /** IPv4, where it is known. */
  readonly address: string | null;
  readonly model: string;
  readonly generation: number;
  readonly firmware: string;
  readonly reach: string;
  readonly groups: ReadonlyArray<string>;
  readonly tags: ReadonlyArray<string>;
}

const byMac = (devices: ReadonlyArray<Listed>): ReadonlyArray<Listed> =>
  devices.toSorted((a, b) => (a.mac < b.mac ? -1 : 1));

const IPV4 = /^(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)(?:\.(?!$)|$)){4}$/;
const ipv4 = (address: string | null): string | undefined =>
  address !== null && IPV4.test(address) ? address : undefined;

/** One line, without what ends a comment or a terminal's line. */
const oneLine = (text: string): string =>
  text
    .toWellFormed()
    .replaceAll(/[\p{Cc}\p{Cf}\u2028\u2029]+/gu, " ")
    .trim()
    .slice(0, 100);

/** A label of DNS: of its name, where letters are left of it, else of what it calls itself. Each once. */
function labels(devices: ReadonlyArray<Listed>): ReadonlyArray<string> {
  const taken = new Set<string>();
  return devices.map(({ name, hostname, mac }) => {
    const label = labelOf(name ?? "") || labelOf(hostname) || `shelly-${mac.toLowerCase()}`;
    let free = label;
    for (let nth = 2; taken.has(free); nth++) free = `${label.slice(0, 58)}-${nth}`;
    taken.add(free);
    return free;
  });
}

const labelOf = (text: string): string =>
  text
    .normalize("NFKD")
    .toLowerCase()
    .replaceAll(/\p{M}/gu, "")
    .replaceAll(/[^a-z0-9]+/g, "-")
    .slice(0, 60)
    .replaceAll(/^-+|-+$/g, "");

const COLUMNS = [
  "mac",
  "name",
  "hostname",
  "address",
  "model",
  "generation",
  "firmware",
  "reach",
  "groups",
  "tags",
] as const;

/** RFC 4180. A cell that a spreadsheet would calculate is a text there. */
const cell = (value: string): string => {
  const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
};

export function csvOf(devices: ReadonlyArray<Listed>): string {
  const rows = byMac(devices).map((device) =>
    COLUMNS.map((column) => {
      const value = column === "mac" ? macWithColons(device.mac) : device[column];
      return cell(Array.isArray(value) ? value.join(" ") : String(value ?? ""));
    }),
  );
  return [COLUMNS, ...rows].map((row) => `${row.join(",")}\r\n`).join("");
}

/** Devices whose address is not known are left out. */
export function hostsOf(devices: ReadonlyArray<Listed>, domain?: string): string {
  const listed = byMac(devices).filter(({ address }) => ipv4(address) !== undefined);
  const names = labels(listed);
  return listed
    .map(({ address, name, mac }, index) => {
      const long = domain === undefined ? "" : `${names[index]}.${domain} `;
      return `${address}\t${long}${names[index]}\t# ${macWithColons(mac)} ${oneLine(name ?? "")}`.trimEnd();
    })
    .map((line) => `${line}\n`)
    .join("");
}

export type DhcpServer = "dnsmasq" | "isc" | "kea";

interface Reservation {
  readonly mac: string;
  readonly host: string;
  readonly address: string | undefined;
  readonly name: string;
}

/** Reservations for a DHCP server to include. One without an address reserves the name only. */
export function dhcpOf(devices: ReadonlyArray<Listed>, server: DhcpServer): string {
  const listed = byMac(devices);
  const names = labels(listed);
  const reservations = listed.map(
    ({ mac, name, address }, index): Reservation => ({
      mac: macWithColons(mac).toLowerCase(),
      host: names[index]!,
      address: ipv4(address),
      name: oneLine(name ?? ""),
    }),
  );
  return DHCP[server](reservations);
}

const DHCP: Readonly<Record<DhcpServer, (reservations: ReadonlyArray<Reservation>) => string>> = {
  dnsmasq: (reservations) =>
    reservations
      .map(({ mac, host, address, name }) => {
        const comment = name === "" ? "" : `# ${name}\n`;
        return `${comment}dhcp-host=${[mac, address, host].filter((part) => part !== undefined).join(",")}\n`;
      })
      .join(""),
  isc: (reservations) =>
    reservations
      .map(({ mac, host, address, name }) => {
        const fixed = address === undefined ? [] : [`  fixed-address ${address};`];
        const comment = name === "" ? [] : [`# ${name}`];
        return [
          ...comment,
          `host ${host} {`,
          `  hardware ethernet ${mac};`,
          ...fixed,
          `  option host-name "${host}";`,
          "}",
          "",
        ].join("\n");
      })
      .join(""),
  kea: (reservations) => {
    const rows = reservations.map(({ mac, host, address, name }) => ({
      "hw-address": mac,
      ...(address === undefined ? {} : { "ip-address": address }),
      hostname: host,
      ...(name === "" ? {} : { "user-context": { name } }),
    }));
    return `${JSON.stringify({ reservations: rows }, null, 2)}\n`;
  },
};
