/** CoIoT: what Gen1 devices tell by UDP, to everybody (224.0.1.187) or to one peer, and what the numbers in it mean. */
import { createSocket, type RemoteInfo, type Socket } from "node:dgram";
import type { Sample } from "@millrace/eventlog/series.ts";
import { type CoiotMessage, coapGet, parseCoiot } from "./coap.ts";
import { isObject, type Json, numberAt, textAt } from "./json.ts";

export const COIOT_PORT = 5683;
const GROUP = "224.0.1.187";
/** Counts the changes of its configuration since it began. */
const CONFIG_CHANGED = 9103;

export interface Sensor {
  /** `relay_0`, `device`, as the description names its block. */
  readonly block: string;
  /** `power` */
  readonly name: string;
  /** `P` power, `E` energy, `T` temperature, `S` state, `A` alarm, `EV` event, `EVC` counter … */
  readonly type: string;
  /** `W`, `Wmin`, `Wh`, `C` … */
  readonly unit: string | undefined;
}

export type Description = ReadonlyMap<number, Sensor>;

const SENSORS = 256;

/** Of `/cit/d`. What is none is an empty one. */
export function describe(answer: Json): Description {
  const sensors = new Map<number, Sensor>();
  if (!isObject(answer) || !Array.isArray(answer.blk) || !Array.isArray(answer.sen)) return sensors;
  const blocks = new Map(answer.blk.map((block: Json) => [numberAt(block, "I"), textAt(block, "D")]));
  for (const sensor of answer.sen.slice(0, SENSORS) as ReadonlyArray<Json>) {
    const [id, name, type] = [numberAt(sensor, "I"), textAt(sensor, "D"), textAt(sensor, "T")];
    const links = isObject(sensor) ? sensor.L : undefined;
    const block = blocks.get(Array.isArray(links) ? (links[0] as number) : (links as number));
    if (id === undefined || name === undefined || type === undefined || block === undefined) continue;
    sensors.set(id, { block, name, type, unit: textAt(sensor, "U") });
  }
  return sensors;
}

/** By the unit that the description gives: relays count watt-minutes, energy meters watt-hours. */
const UNITS: Readonly<Record<string, readonly [suffix: string, factor: number]>> = {
  W: ["watts", 1],
  Wmin: ["watt_hours", 1 / 60],
  Wh: ["watt_hours", 1],
  V: ["volts", 1],
  A: ["amperes", 1],
  VAR: ["volt_amperes_reactive", 1],
  C: ["celsius", 1],
  K: ["kelvin", 1],
  "%": ["percent", 1],
  lux: ["lux", 1],
};
const NAMES: Readonly<Record<string, string>> = {
  energyReturned: "returned_energy",
  deviceTemp: "temperature",
  extTemp: "temperature",
  powerFactor: "power_factor_ratio",
};
const BLOCKS: Readonly<Record<string, string>> = { relay: "switch", roller: "cover", emeter: "em1", meter: "pm1" };

/** `relay_0` is `switch:0`, `device` is `sys`. */
export function componentOf(block: string): string {
  const [, name, index] = /^([a-zA-Z]+)_(\d+)$/.exec(block) ?? [];
  if (name === undefined) return block === "device" ? "sys" : block.toLowerCase().replaceAll(/[^a-z0-9_]/g, "");
  return `${BLOCKS[name] ?? name.toLowerCase()}:${index}`;
}

/** What of a message is measured. */
export function samplesOfCoiot({ values }: CoiotMessage, description: Description): Sample[] {
  return [...values].flatMap(([id, value]) => {
    const sensor = description.get(id);
    // 999 and -1 stand for "not measured", as the ranges of the description say.
    if (sensor === undefined || typeof value !== "number" || value === 999) return [];
    const [suffix, factor] = UNITS[sensor.unit ?? ""] ?? [undefined, 1];
    const name = NAMES[sensor.name] ?? sensor.name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
    if (suffix === undefined && !name.endsWith("_ratio")) return [];
    const metric = suffix === undefined ? name : `${name}_${suffix}`;
    if (!/^[a-z][a-z0-9_]{0,63}$/.test(metric) || (value < 0 && sensor.type === "E")) return [];
    return [{ metric, value: value * factor, labels: { component: componentOf(sensor.block) } }];
  });
}

export const configCountOf = ({ values }: CoiotMessage): number | undefined => {
  const count = values.get(CONFIG_CHANGED);
  return typeof count === "number" ? count : undefined;
};

/** Whether a state, an alarm or an event is another than before: worth asking for the whole status. */
export function stateChanged(before: CoiotMessage | undefined, now: CoiotMessage, description: Description): boolean {
  if (before === undefined) return true;
  return [...now.values].some(([id, value]) => {
    const type = description.get(id)?.type;
    return (
      (type === undefined || /^(S|A|EV|EVC)$/.test(type)) &&
      JSON.stringify(before.values.get(id)) !== JSON.stringify(value)
    );
  });
}

export interface CoiotOptions {
  /** Default 5683; 0 in tests. */
  readonly port?: number;
  /** Address of the interface to listen on; default all. */
  readonly host?: string;
  /** Also what is told to everybody. Default true. */
  readonly multicast?: boolean;
  readonly onMessage: (message: CoiotMessage, from: RemoteInfo) => void;
  readonly onError: (error: unknown) => void;
}

/** Messages looked at a second: a flood of them costs no more than this. */
const MOST_PER_SECOND = 5_000;

export class CoiotListener {
  readonly #socket: Socket;
  readonly #options: CoiotOptions;
  #second = 0;
  #taken = 0;
  #id = 0;

  private constructor(options: CoiotOptions) {
    this.#options = options;
    this.#socket = createSocket({ type: "udp4", reuseAddr: true });
    this.#socket.on("message", (packet, from) => this.#take(packet, from));
  }

  /** @throws what binding throws */
  static async open(options: CoiotOptions): Promise<CoiotListener> {
    const listener = new CoiotListener(options);
    const { port = COIOT_PORT, host = "0.0.0.0", multicast = true } = options;
    await new Promise<void>((resolve, reject) => {
      listener.#socket.once("error", reject);
      listener.#socket.bind({ port, address: host }, () => {
        listener.#socket.removeListener("error", reject);
        listener.#socket.on("error", options.onError);
        resolve();
      });
    });
    if (multicast) listener.#join(host);
    return listener;
  }

  get port(): number {
    return this.#socket.address().port;
  }

  /** Asks a device for its status; a sleeping one answers when it is awake. */
  ask(host: string, port = COIOT_PORT): void {
    this.#id = (this.#id + 1) & 0xffff;
    this.#socket.send(coapGet("/cit/s", this.#id), port, host, () => {});
  }

  close(): Promise<void> {
    return new Promise((resolve) => this.#socket.close(() => resolve()));
  }

  /** A machine without a network that knows groups hears what is sent to it alone. */
  #join(host: string): void {
    try {
      this.#socket.addMembership(GROUP, host === "0.0.0.0" ? undefined : host);
    } catch (error) {
      this.#options.onError(error);
    }
  }

  #take(packet: Buffer, from: RemoteInfo): void {
    const second = Math.floor(performance.now() / 1_000);
    if (second !== this.#second) {
      this.#second = second;
      this.#taken = 0;
    }
    this.#taken += 1;
    if (this.#taken > MOST_PER_SECOND || packet.length > 4_096) return;
    const message = parseCoiot(packet);
    if (message !== undefined) this.#options.onMessage(message, from);
  }
}
