/** What devices say of themselves by mDNS (captured): two instances for each of Gen2 and later, and records that come many times. */
import makeMdns, { type MulticastDNS, type ResponseOutgoingPacket } from "multicast-dns";
import { isObject } from "./auth.ts";
import type { Gen1Device } from "./gen1-device.ts";
import { RpcDevice } from "./rpc-device.ts";

type Any = RpcDevice | Gen1Device;
type Records = NonNullable<ResponseOutgoingPacket["answers"]>;

const SHORT_TTL = 120;
const LONG_TTL = 4500;
/** Captured on firmware 2.0.0-beta1: one packet says the same six times. */
const REPEATS = 6;
const PACKETS_AT_ONCE = 50;

interface Instance {
  readonly service: "_http._tcp.local" | "_shelly._tcp.local";
  readonly name: string;
  readonly host: string;
  readonly txt: string[];
}

function instancesOf(device: Any): Instance[] {
  if (!(device instanceof RpcDevice)) {
    const { app, arch, version } = device.type;
    const txt = [
      `id=${device.id}`,
      `arch=${arch}`,
      ...(app === undefined ? [] : [`app=${app}`]),
      `fw_version=${version}`,
      `fw_id=${device.fw}`,
      `discoverable=${device.settings.discoverable === true}`,
    ];
    return [{ service: "_http._tcp.local", name: device.id, host: device.id, txt }];
  }
  const gen = `gen=${device.generation}`;
  const full = [gen, `app=${device.type.app}`, `ver=${device.version}`];
  const sys = device.configOf("sys").device;
  const own = isObject(sys) && typeof sys.name === "string" && sys.name !== "" ? sys.name : undefined;
  const names: Array<readonly [string, string]> = [
    [device.id, `${device.type.host}-${device.mac}`],
    ...(own === undefined ? [] : [[own, own.replace(/[^A-Za-z0-9-]+/g, "-")] as const]),
  ];
  return names.flatMap(([name, host]): Instance[] => [
    { service: "_http._tcp.local", name, host, txt: [gen] },
    { service: "_shelly._tcp.local", name, host, txt: full },
  ]);
}

/** One packet, as a device sends it unasked or when asked for `service`. */
export function packetOf(device: Any, service?: string): ResponseOutgoingPacket | undefined {
  const asked = instancesOf(device).filter((one) => service === undefined || one.service === service);
  if (asked.length === 0) return undefined;
  const ttl = device instanceof RpcDevice ? SHORT_TTL : LONG_TTL;
  const answers: Records = asked.map((one) => ({
    name: one.service,
    type: "PTR",
    ttl,
    data: `${one.name}.${one.service}`,
  }));
  for (const one of new Set(asked.map((instance) => instance.service))) {
    answers.push({ name: "_services._dns-sd._udp.local", type: "PTR", ttl, data: one });
  }
  const details: Records = asked.flatMap(
    (one): Records => [
      {
        ...{ name: `${one.name}.${one.service}`, type: "SRV", ttl: SHORT_TTL },
        data: { priority: 0, weight: 0, port: device.port, target: `${one.host}.local` },
      },
      { name: `${one.name}.${one.service}`, type: "TXT", ttl: SHORT_TTL, data: one.txt },
      { name: `${one.host}.local`, type: "A", ttl: SHORT_TTL, flush: true, data: device.address },
    ],
  );
  if (!(device instanceof RpcDevice)) return { answers: [...answers, ...details] };
  const repeats = device.dialect.startsWith("2") ? REPEATS : 1;
  return { answers, additionals: Array.from({ length: repeats }, () => details).flat() };
}

/** Speaks for all devices of a fleet. */
export class Announcer {
  readonly #mdns: MulticastDNS;
  readonly #devices: () => readonly Any[];
  #closed = false;

  private constructor(mdns: MulticastDNS, devices: () => readonly Any[]) {
    this.#mdns = mdns;
    this.#devices = devices;
    mdns.on("query", ({ questions = [] }) => {
      for (const { name, type } of questions) if (type === "PTR" || String(type) === "ANY") this.#say(name);
    });
  }

  static async start(
    options: { readonly port?: number; readonly group?: string },
    devices: () => readonly Any[],
  ): Promise<Announcer> {
    const { port = 5353, group: ip = "224.0.0.251" } = options;
    // Bound to the group: it hears nothing that is sent to an address.
    const mdns = makeMdns({
      port,
      ip,
      bind: ip,
      interface: "127.0.0.1",
      reuseAddr: true,
      loopback: true,
      multicast: true,
    });
    await new Promise<void>((resolve, reject) => {
      mdns.once("ready", resolve);
      mdns.once("error", reject);
    });
    mdns.on("warning", () => {});
    mdns.on("error", () => {});
    return new Announcer(mdns, devices);
  }

  announce(device: Any): void {
    const packet = device.online ? packetOf(device) : undefined;
    if (packet !== undefined && !this.#closed) this.#mdns.respond(packet);
  }

  announceAll(): void {
    this.#say(undefined);
  }

  /** A few packets at a time: the sockets of others are small. */
  #say(service: string | undefined): void {
    const queue = this.#devices().filter(({ online }) => online);
    const some = () => {
      if (this.#closed) return;
      for (const device of queue.splice(0, PACKETS_AT_ONCE)) {
        const packet = packetOf(device, service);
        if (packet !== undefined) this.#mdns.respond(packet);
      }
      if (queue.length > 0) setTimeout(some, 5).unref();
    };
    if (service === undefined || service.endsWith("._tcp.local")) some();
  }

  close(): Promise<void> {
    this.#closed = true;
    return new Promise((resolve) => this.#mdns.destroy(() => resolve()));
  }
}
