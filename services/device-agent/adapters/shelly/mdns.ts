/**
 * Looking for devices by mDNS: who says `_shelly._tcp` (Gen2+) or has a name like a Shelly's under `_http._tcp` (Gen1). An answer is a
 * hint where to look, never more: names are chosen by whoever sends them, each device answers under two, and only `/shelly` says who it
 * is. So only addresses are kept, so many and no more.
 */
import { isIPv4 } from "node:net";
import makeMdns, { type Options, type ResponsePacket } from "multicast-dns";

const SERVICES = ["_shelly._tcp.local", "_http._tcp.local"];
/** `shelly1-34945472A643`, `ShellyPlus2PM-C4D8D5517C68` */
const NAMED = /^shelly[a-z0-9]*-(?:[0-9a-f]{12}|[0-9a-f]{6})$/i;

export interface Sighting {
  /** IPv4 address. */
  readonly host: string;
  readonly port: number;
}

export interface BrowseOptions {
  /** Milliseconds to listen. Default 5,000. */
  readonly forMs?: number;
  readonly signal?: AbortSignal;
  /** Told of each address once. */
  readonly onSighting: (sighting: Sighting) => void;
  /** For tests: other than 5353 and 224.0.0.251. */
  readonly socket?: Pick<Options, "port" | "ip" | "interface" | "bind" | "multicast" | "loopback" | "reuseAddr">;
}

/** Of everything that one browse may come to know. */
const MOST = { records: 50_000, names: 4_096, perPacket: 256, perHost: 8, sightings: 4_096, nameLength: 255 } as const;
const ASK_AT_MS = [0, 1_000, 3_000] as const;

interface Told {
  readonly name: string;
  readonly type: string;
  readonly data: unknown;
}

/**
 * What has been heard, put together: names of services, where they are, and what addresses those have. Pure but for its memory; a record
 * costs the same however many were heard before.
 */
export class Heard {
  /** Instances of the services that we asked for. */
  readonly #instances = new Set<string>();
  readonly #places = new Map<string, { readonly target: string; readonly port: number }>();
  /** Instances by the host that they are at. */
  readonly #at = new Map<string, Set<string>>();
  readonly #addresses = new Map<string, string>();
  readonly #told = new Set<string>();
  #records = 0;

  /** @returns addresses that are new */
  add(records: ReadonlyArray<Told>): Sighting[] {
    const fresh: Sighting[] = [];
    for (const record of records.slice(0, MOST.perPacket)) {
      this.#records += 1;
      if (this.#records > MOST.records) break;
      for (const instance of this.#take(record)) {
        const sighting = this.#resolve(instance);
        if (sighting !== undefined) fresh.push(sighting);
      }
    }
    return fresh;
  }

  /** @returns instances of which something is known now that was not */
  #take({ name, type, data }: Told): Iterable<string> {
    const key = nameOf(name);
    if (key === undefined) return [];
    if (type === "PTR" && SERVICES.includes(key)) {
      const instance = nameOf(data);
      if (instance === undefined || !isWanted(key, instance) || this.#instances.size >= MOST.names) return [];
      this.#instances.add(instance);
      return [instance];
    }
    if (type === "SRV" && typeof data === "object" && data !== null) return this.#place(key, data);
    if (type !== "A" || typeof data !== "string" || !isIPv4(data) || this.#addresses.get(key) === data) return [];
    if (this.#addresses.size >= MOST.names && !this.#addresses.has(key)) return [];
    this.#addresses.set(key, data);
    return this.#at.get(key) ?? [];
  }

  #place(instance: string, data: object): Iterable<string> {
    const { target: to, port } = data as { readonly target?: unknown; readonly port?: unknown };
    const target = nameOf(to);
    if (target === undefined || typeof port !== "number" || port < 1 || port > 65_535) return [];
    // The first place counts: a device keeps its own.
    if (this.#places.size >= MOST.names || this.#places.has(instance)) return [];
    this.#places.set(instance, { target, port });
    const others = this.#at.get(target) ?? new Set();
    if (others.size < MOST.perHost) this.#at.set(target, others.add(instance));
    return [instance];
  }

  #resolve(instance: string): Sighting | undefined {
    const place = this.#instances.has(instance) ? this.#places.get(instance) : undefined;
    const host = place === undefined ? undefined : this.#addresses.get(place.target);
    if (place === undefined || host === undefined || this.#told.size >= MOST.sightings) return undefined;
    const at = `${host}:${place.port}`;
    if (this.#told.has(at)) return undefined;
    this.#told.add(at);
    return { host, port: place.port };
  }
}

/** In lower case; undefined for what is no name. */
const nameOf = (name: unknown): string | undefined =>
  typeof name === "string" && name.length <= MOST.nameLength ? name.toLowerCase() : undefined;

/** Everything under `_shelly._tcp`; under `_http._tcp` only who is named like a Shelly. */
const isWanted = (service: string, instance: string): boolean =>
  instance.endsWith(`.${service}`) && (service === SERVICES[0] || NAMED.test(instance.slice(0, -(service.length + 1))));

/** Asks and listens. @returns how many addresses were found @throws what opening the socket throws */
export async function browse({ forMs = 5_000, signal, onSighting, socket }: BrowseOptions): Promise<number> {
  const mdns = makeMdns(socket ?? {});
  const heard = new Heard();
  let found = 0;
  const timers: NodeJS.Timeout[] = [];
  try {
    await new Promise<void>((resolve, reject) => {
      const take = ({ answers = [], additionals = [] }: ResponsePacket) => {
        const records = [...answers.slice(0, MOST.perPacket), ...additionals.slice(0, MOST.perPacket)];
        for (const sighting of heard.add(records as ReadonlyArray<Told>)) {
          found += 1;
          onSighting(sighting);
        }
      };
      mdns.on("error", reject);
      // What cannot be decoded is nobody's fault here.
      mdns.on("warning", () => {});
      mdns.on("response", take);
      for (const ms of ASK_AT_MS.filter((at) => at < forMs)) {
        timers.push(setTimeout(() => mdns.query(SERVICES.map((name) => ({ name, type: "PTR" as const }))), ms));
      }
      timers.push(setTimeout(resolve, forMs));
      signal?.addEventListener("abort", () => resolve(), { once: true });
      if (signal?.aborted) resolve();
    });
    return found;
  } finally {
    for (const timer of timers) clearTimeout(timer);
    mdns.on("error", () => {});
    await new Promise<void>((resolve) => mdns.destroy(() => resolve()));
  }
}
