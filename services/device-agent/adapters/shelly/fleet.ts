/**
 * All devices that this process keeps: thousands, by one timer wheel and one gate for connects; where devices dial in, where CoIoT is
 * heard. What becomes known is told by callbacks that name the device by its MAC.
 */
import type { Address } from "./address.ts";
import type { CoiotMessage } from "./coap.ts";
import { CoiotListener, type CoiotOptions } from "./coiot.ts";
import type { Device, Identity } from "./device.ts";
import { type Arrived, DialIn, type DialInOptions } from "./dial-in.ts";
import { failure } from "./failures.ts";
import { Gate } from "./gate.ts";
import type { JsonObject } from "./json.ts";
import { Keeper, type KeeperListener, type Kept } from "./keeper.ts";
import type { CredentialsOf } from "./login.ts";
import { RpcDevice } from "./rpc-device.ts";
import { Wheel } from "./wheel.ts";

/** As `KeeperListener`; and who came that nobody keeps. */
export type FleetListener = KeeperListener & {
  /** A device dialled in, or told something by CoIoT, that is not kept here. */
  readonly stranger: (found: Stranger) => void;
  /** A device that is kept told something from another address than the one it is kept at: worth a look. */
  readonly sighted: (mac: string, host: string) => void;
};

export type Stranger =
  | { readonly by: "dial-in"; readonly identity: Identity; readonly host: string }
  | { readonly by: "coiot"; readonly device: string; readonly type: string; readonly host: string };

export interface FleetOptions {
  readonly listener: FleetListener;
  /** @param mac of the device that wants a login */
  readonly credentials: (mac: string) => ReturnType<CredentialsOf>;
  readonly dialIn?: Pick<DialInOptions, "port" | "host" | "tls" | "limits">;
  readonly coiot?: Pick<CoiotOptions, "port" | "host" | "multicast">;
  readonly onError: (error: unknown) => void;
  /** Connects at once. Default 256. */
  readonly connects?: number;
}

const CONNECTS = 256;
/** Strangers are told of once in this time. */
const STRANGER_MS = 600_000;
const SIGHTED_MS = 60_000;
const STRANGERS = 10_000;

export class Fleet {
  readonly #options: FleetOptions;
  readonly #listener: KeeperListener;
  readonly #wheel: Wheel;
  readonly #gate: Gate;
  readonly #keepers = new Map<string, Keeper>();
  /** The last six digits of MACs, by which old Gen1 firmware names itself. */
  readonly #tails = new Map<string, string>();
  readonly #strangers = new Map<string, number>();
  #dialIn: DialIn | undefined;
  #coiot: CoiotListener | undefined;

  private constructor(options: FleetOptions) {
    this.#options = options;
    this.#listener = guarded(options);
    this.#wheel = new Wheel(options.onError);
    this.#gate = new Gate(options.connects ?? CONNECTS);
  }

  /** @throws what listening throws: a port that is taken, say */
  static async open(options: FleetOptions): Promise<Fleet> {
    const fleet = new Fleet(options);
    try {
      const { dialIn, coiot, onError } = options;
      if (dialIn !== undefined) {
        fleet.#dialIn = await DialIn.open({ ...dialIn, onDevice: (arrived) => fleet.#arrived(arrived) });
      }
      if (coiot !== undefined) {
        const onMessage = (message: CoiotMessage, { address }: { address: string }) => fleet.#told(message, address);
        fleet.#coiot = await CoiotListener.open({ ...coiot, onMessage, onError });
      }
      return fleet;
    } catch (error) {
      await fleet.close();
      throw error;
    }
  }

  /** Where devices dial in. */
  get dialInPort(): number | undefined {
    return this.#dialIn?.port;
  }

  get coiotPort(): number | undefined {
    return this.#coiot?.port;
  }

  get size(): number {
    return this.#keepers.size;
  }

  /** For looking at a device that is not kept: scans, adding one by its address. */
  get gate(): Gate {
    return this.#gate;
  }

  /** Keeps a device from now on; one that is kept gets another interval, or another address. */
  keep(kept: Kept): Device {
    const { mac } = kept.identity;
    const before = this.#keepers.get(mac);
    if (before !== undefined && sameAddress(before.device.address, kept.address)) {
      before.retune(kept);
      return before.device;
    }
    if (before?.device instanceof RpcDevice && kept.identity.generation !== 1) {
      before.device.move(kept.address);
      before.retune(kept);
      return before.device;
    }
    if (before !== undefined) void this.release(mac);
    const keeper = new Keeper({
      ...kept,
      wheel: this.#wheel,
      gate: this.#gate,
      credentials: () => this.#options.credentials(mac),
      listener: this.#listener,
    });
    this.#keepers.set(mac, keeper);
    this.#tails.set(mac.slice(-6), mac);
    return keeper.device;
  }

  async release(mac: string): Promise<void> {
    const keeper = this.#keepers.get(mac);
    if (keeper === undefined) return;
    this.#keepers.delete(mac);
    if (this.#tails.get(mac.slice(-6)) === mac) this.#tails.delete(mac.slice(-6));
    await keeper.close();
  }

  device(mac: string): Device | undefined {
    return this.#keepers.get(mac)?.device;
  }

  /** As last known. */
  status(mac: string): JsonObject | undefined {
    return this.#keepers.get(mac)?.status;
  }

  /** It is awake or back: asked at once. */
  hint(mac: string): void {
    this.#keepers.get(mac)?.hint();
  }

  macs(): ReadonlyArray<string> {
    return [...this.#keepers.keys()];
  }

  async close(): Promise<void> {
    this.#wheel.close();
    await Promise.all([
      this.#dialIn?.close(),
      this.#coiot?.close(),
      ...[...this.#keepers.values()].map((one) => one.close()),
    ]);
    this.#keepers.clear();
  }

  #arrived({ peer, identity, notices, remote }: Arrived): void {
    const keeper = this.#keepers.get(identity.mac);
    if (keeper !== undefined) {
      this.#sighted(identity.mac, keeper, remote);
      keeper.attach(peer, notices);
      return;
    }
    peer.close(failure("not-sent", "It is not kept here."));
    this.#stranger(identity.mac, { by: "dial-in", identity, host: remote });
  }

  #told(message: CoiotMessage, host: string): void {
    const mac = message.device.length === 12 ? message.device : (this.#tails.get(message.device) ?? message.device);
    const keeper = this.#keepers.get(mac);
    if (keeper !== undefined) {
      this.#sighted(mac, keeper, host);
      keeper.hear(message);
    } else this.#stranger(mac, { by: "coiot", device: message.device, type: message.type, host });
  }

  #sighted(mac: string, keeper: Keeper, host: string): void {
    if (keeper.device.address.host !== host && this.#isNews(`${mac} ${host}`, SIGHTED_MS)) {
      this.#options.listener.sighted(mac, host);
    }
  }

  #stranger(key: string, found: Stranger): void {
    if (this.#isNews(key, STRANGER_MS)) this.#options.listener.stranger(found);
  }

  #isNews(key: string, forMs: number): boolean {
    const now = performance.now();
    const before = this.#strangers.get(key);
    if (before !== undefined && now - before < forMs) return false;
    this.#strangers.delete(key);
    this.#strangers.set(key, now);
    if (this.#strangers.size > STRANGERS) this.#strangers.delete(this.#strangers.keys().next().value!);
    return true;
  }
}

/** One for all devices; what it throws stops nobody's keeping. */
function guarded({ listener, onError }: FleetOptions): KeeperListener {
  const told =
    <A extends unknown[]>(tell: (...args: A) => void) =>
    (...args: A): void => {
      try {
        tell(...args);
      } catch (error) {
        onError(error);
      }
    };
  return {
    seen: told(listener.seen),
    lost: told(listener.lost),
    away: told(listener.away),
    status: told(listener.status),
    revision: told(listener.revision),
    event: told(listener.event),
    samples: told(listener.samples),
    address: told(listener.address),
    trouble: told(listener.trouble),
  };
}

const sameAddress = (a: Address, b: Address): boolean =>
  a.host === b.host &&
  a.port === b.port &&
  (a.scheme === b.scheme || a.scheme === "https") &&
  (a.pin === b.pin || b.pin === undefined);
