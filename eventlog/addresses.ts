/**
 * Addresses that requests of ours may be sent to when somebody else chose them. What leads into this machine or its network is refused
 * unless the installation allows it: loopback, private, link-local, metadata, and every IPv6 form that carries such an IPv4 address.
 * The numbers are judged, never the spelling: `2130706433`, `0177.0.0.1` and `[::ffff:7f00:1]` are 127.0.0.1 when they come here.
 */
import { type LookupAddress, type LookupOptions, lookup } from "node:dns";
import { Resolver } from "node:dns/promises";
import { BlockList, isIP } from "node:net";

/** Special-purpose ranges of the IANA registries, and where clouds keep their metadata. */
const FORBIDDEN_V4: ReadonlyArray<string> = [
  ..."0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24".split(" "),
  ..."192.0.2.0/24 192.31.196.0/24 192.52.193.0/24 192.88.99.0/24 192.168.0.0/16 192.175.48.0/24".split(" "),
  ..."198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4 168.63.129.16/32".split(" "),
];
/** What is not 2000::/3 is nobody on the Internet, or carries an IPv4 address; within it some is special, too. */
const FORBIDDEN_V6 = "::/3 4000::/2 8000::/1 2001::/23 2001:db8::/32 2002::/16 3fff::/20".split(" ");

const RANGE = /^([0-9a-fA-F.:]{2,45})\/(\d{1,3})$/;

/** @throws TypeError that names the range that is none */
function listOf(ranges: ReadonlyArray<string>): BlockList {
  const list = new BlockList();
  for (const range of ranges) {
    const [, address = "", bits = ""] = RANGE.exec(range) ?? [];
    const family = isIP(address);
    if (family === 0 || Number(bits) > (family === 4 ? 32 : 128)) {
      throw new TypeError(`${JSON.stringify(range.slice(0, 64))} is no range of addresses, as 192.168.1.0/24 is one`);
    }
    list.addSubnet(address, Number(bits), family === 4 ? "ipv4" : "ipv6");
  }
  return list;
}

const forbiddenV4 = listOf(FORBIDDEN_V4);
const forbiddenV6 = listOf(FORBIDDEN_V6);
/** IPv4 addresses in IPv6 notation: `BlockList` judges them by the rules for IPv4. */
const mapped = listOf(["::ffff:0:0/96"]);

/** @returns what is wrong with ranges that are to be allowed, or undefined */
export function rangesFault(ranges: ReadonlyArray<string>): string | undefined {
  try {
    listOf(ranges);
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

/** What is wrong with an address, in words. */
export class AddressRefused extends Error {
  readonly code = "ERR_ADDRESS_REFUSED";
}

export type Resolve = (host: string) => Promise<ReadonlyArray<string>>;

/** Which addresses may be sent to. */
export class Addresses {
  readonly #allowed: BlockList;

  /** @param allow ranges (CIDR) that are private and allowed all the same @throws TypeError */
  constructor(allow: ReadonlyArray<string> = []) {
    this.#allowed = listOf(allow);
  }

  /** @param address an IP address, as text */
  isAllowed(address: string): boolean {
    const family = isIP(address);
    if (family === 0) return false;
    const name = family === 4 ? "ipv4" : "ipv6";
    if (this.#allowed.check(address, name)) return true;
    const list = family === 4 || mapped.check(address, name) ? forbiddenV4 : forbiddenV6;
    return !list.check(address, name);
  }

  /**
   * What can be said of a URL before its name is resolved.
   * @returns the refused address, when the host is an address
   */
  refusedIn(url: string): string | undefined {
    const host = hostOf(url);
    return isIP(host) !== 0 && !this.isAllowed(host) ? host : undefined;
  }

  /** Every address of a host, if all of them may be sent to. @throws AddressRefused, or what resolving throws */
  async of(host: string, resolve: Resolve = resolveName): Promise<ReadonlyArray<string>> {
    const addresses = isIP(host) === 0 ? await resolve(host) : [host];
    if (addresses.length === 0) throw Object.assign(new Error(`${host} has no address`), { code: "ENOTFOUND" });
    // One forbidden is enough: a name that leads to both is somebody's mistake, or somebody's attack.
    const refused = addresses.find((address) => !this.isAllowed(address));
    if (refused !== undefined) {
      throw new AddressRefused(
        refused === host
          ? `${host} is no address that may be sent to`
          : `${host} leads to ${refused}, which may not be sent to`,
      );
    }
    return addresses;
  }

  /** For `net.connect` and what is built on it: the socket is opened to exactly the addresses that were judged. */
  lookup(resolve: Resolve = resolveName) {
    return (
      host: string,
      options: LookupOptions,
      answer: (error: NodeJS.ErrnoException | null, address: string | LookupAddress[], family?: number) => void,
    ): void => {
      this.of(host, resolve).then(
        (addresses) => {
          const all = addresses.map((address) => ({ address, family: isIP(address) }));
          if (options.all === true) answer(null, all);
          else answer(null, all[0]!.address, all[0]!.family);
        },
        (error: NodeJS.ErrnoException) => answer(error, ""),
      );
    };
  }
}

/** Host of a URL, without the brackets of IPv6. */
export const hostOf = (url: string): string => new URL(url).hostname.replace(/^\[|\]$/g, "");

const NAME_MS = 5_000;
const resolver = new Resolver({ timeout: 2_000, tries: 2, maxTimeout: NAME_MS });
/** Names that no name server of the world knows: the machine's own ways (hosts file, mDNS) are asked. */
const LOCAL = /^[^.]+\.?$|\.(localhost|local|lan|internal|home\.arpa|test)\.?$/i;

/**
 * Addresses of a name. Asked of the name servers from this process: the system's own resolver works in four threads, which a few names
 * whose servers are silent would hold, and everybody's files with them. What they do not know is asked of the system.
 */
async function resolveName(host: string): Promise<ReadonlyArray<string>> {
  if (!LOCAL.test(host)) {
    const found = await Promise.allSettled([resolver.resolve4(host), resolver.resolve6(host)]);
    const addresses = found.flatMap((one) => (one.status === "fulfilled" ? one.value : []));
    if (addresses.length > 0) return addresses;
    const silent = found.find((one) => one.status === "rejected" && one.reason.code === "ETIMEOUT");
    if (silent !== undefined) throw (silent as PromiseRejectedResult).reason;
  }
  return new Promise((done, fail) => {
    lookup(host, { all: true, order: "verbatim" }, (error, all) =>
      error === null ? done(all.map(({ address }) => address)) : fail(error),
    );
  });
}
