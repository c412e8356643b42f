/** Cutting a range of IPv4 addresses into equal subnets, and telling which of them overlap with others. */

export interface Addresses {
  /** First address, as a number. */
  readonly first: number;
  readonly count: number;
  /** Length of each subnet's prefix. */
  readonly prefix: number;
}

/** @throws TypeError when the range or the prefix is none. */
export function parseRange(options: { readonly range: string; readonly prefix: number }): Addresses {
  const { first, prefix } = parseSubnet(options.range);
  if (!Number.isInteger(options.prefix) || options.prefix < prefix || options.prefix > 29)
    throw new TypeError(`a /${options.prefix} does not fit into ${options.range}`);
  return { first, count: 2 ** (options.prefix - prefix), prefix: options.prefix };
}

/** The subnet of that number in CIDR, such as `10.213.0.32/27`. */
export function subnetAt(addresses: Addresses, index: number): string {
  return `${format(addresses.first + index * 2 ** (32 - addresses.prefix))}/${addresses.prefix}`;
}

/** Whether two subnets in CIDR share an address. */
export function overlaps(one: string, other: string): boolean {
  const a = parseSubnet(one);
  const b = parseSubnet(other);
  return a.first < b.first + 2 ** (32 - b.prefix) && b.first < a.first + 2 ** (32 - a.prefix);
}

/** The destinations in Linux's table of routes (`/proc/net/route`) in CIDR, but for the default route. */
export function parseRoutes(table: string): string[] {
  const routes: string[] = [];
  for (const line of table.split("\n").slice(1)) {
    const [, destination, , , , , , mask] = line.trim().split(/\s+/);
    if (!destination || !mask || mask === "00000000") continue;
    const bits = Number.parseInt(mask, 16).toString(2).replaceAll("0", "").length;
    routes.push(`${format(Buffer.from(destination, "hex").readUInt32LE())}/${bits}`);
  }
  return routes;
}

function parseSubnet(text: string): { first: number; prefix: number } {
  const parts = /^(\d+)\.(\d+)\.(\d+)\.(\d+)\/(\d+)$/.exec(text)?.slice(1).map(Number);
  if (!parts || parts.slice(0, 4).some((part) => part > 255) || parts[4]! > 32)
    throw new TypeError(`"${text}" is no range of IPv4 addresses such as 10.213.0.0/16`);
  const [a, b, c, d, prefix] = parts as [number, number, number, number, number];
  const size = 2 ** (32 - prefix);
  const address = ((a * 256 + b) * 256 + c) * 256 + d;
  return { first: address - (address % size), prefix };
}

function format(address: number): string {
  return [2 ** 24, 2 ** 16, 2 ** 8, 1].map((unit) => Math.floor(address / unit) % 256).join(".");
}
