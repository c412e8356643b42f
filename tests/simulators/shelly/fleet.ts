/** A fleet of simulated Shelly devices in this process, each on its own loopback address. */
import { realClock } from "./clock.ts";
import { Coiot } from "./coiot.ts";
import { type Control, startControl } from "./control.ts";
import type { Device, World } from "./device.ts";
import type { DeviceHandle, DeviceSpec, Fleet, FleetOptions, Timing } from "./face.ts";
import { Gen1Device } from "./gen1-device.ts";
import { Listener } from "./listener.ts";
import { Announcer } from "./mdns.ts";
import { MODELS, modelOf } from "./models/catalogue.ts";
import { RpcDevice } from "./rpc-device.ts";

export type { Clock, ManualClock, ShiftedClock } from "./clock.ts";
export { manualClock, realClock, shiftedClock } from "./clock.ts";
export type * from "./face.ts";
export { firmwareImage } from "./firmware.ts";
export { MODELS } from "./models/catalogue.ts";

const TIMING: Timing = {
  rebootMs: 50,
  bootMs: 150,
  awakeMs: 2_000,
  wakeEveryMs: 0,
  otaStepMs: 20,
  coverMs: 200,
  redialMs: 200,
  nonceHoldMs: 2_000,
  coiotMs: 0,
};

const numberOf = (address: string): number => address.split(".").reduce((sum, part) => sum * 256 + Number(part), 0);
const addressOf = (number: number): string => [24, 16, 8, 0].map((shift) => (number >>> shift) & 255).join(".");

/** Six bytes: the vendor's look, the fleet's seed, the place in it. */
const macOf = (seed: number, index: number): string =>
  `A0DD${((seed & 0xff) * 0x1000000 + index).toString(16).toUpperCase().padStart(8, "0")}`;

/** Specs in the order in which they are made, each with its own address and MAC. */
function laidOut(options: FleetOptions): Array<DeviceSpec & { readonly mac: string; readonly address: string }> {
  const kinds = options.devices ?? MODELS.map((model) => ({ model }));
  const first = numberOf(options.base ?? "127.20.0.1");
  if (first >>> 24 !== 127) throw new Error(`${options.base} is no loopback address`);
  const count = options.count ?? kinds.length;
  const [taken, all] = [
    new Set<string>(),
    [] as Array<DeviceSpec & { readonly mac: string; readonly address: string }>,
  ];
  for (let index = 0; index < count; index++) {
    const spec: DeviceSpec = kinds[index % kinds.length]!;
    const again = index >= kinds.length;
    const mac =
      again || spec.mac === undefined ? macOf(options.seed ?? 1, index) : spec.mac.replaceAll(":", "").toUpperCase();
    const address = again || spec.address === undefined ? addressOf(first + index) : spec.address;
    if (taken.has(mac)) throw new Error(`two devices with the MAC ${mac}`);
    taken.add(mac);
    all.push({ ...spec, mac, address });
  }
  const parents = new Set(all.map(({ behind }) => behind?.toUpperCase()));
  const extending = { ap: { enable: true, range_extender: { enable: true } } };
  return all.map((spec) => (parents.has(spec.mac) ? { ...spec, config: { wifi: extending, ...spec.config } } : spec));
}

/**
 * Starts devices; they are up and can be dialled when this resolves.
 * @throws Error for a model, profile or address that is none, and for ports that are taken.
 */
export async function startFleet(options: FleetOptions = {}): Promise<Fleet> {
  const listener = new Listener();
  await listener.listen(options.port ?? 0, options.tlsPort ?? 0);
  const { group = "224.0.1.187:5683", port: coiotPort = listener.port } = options.coiot ?? {};
  const coiot = options.coiot === undefined ? undefined : new Coiot({ port: coiotPort, group });
  const devices: Array<RpcDevice | Gen1Device> = [];
  const announcer =
    options.mdns === undefined
      ? undefined
      : await Announcer.start(options.mdns, () => devices.filter(({ mport }) => mport === undefined));
  const children = new Map<Device, Device[]>();
  const world: World = {
    clock: options.clock ?? realClock,
    timing: { ...TIMING, ...options.timing },
    ...(options.networks === undefined ? {} : { networks: options.networks }),
    port: () => listener.port,
    tlsPort: () => listener.tlsPort,
    changed: (device, was) => {
      if (was !== undefined && device.mport === undefined) {
        listener.moved(
          device,
          was,
          devices.find((one) => one.address === was && one.mport === undefined),
        );
        for (const child of children.get(device) ?? []) {
          child.cut();
          void listener.addChild(child, device).catch(() => {});
        }
      }
      if (was !== undefined && device instanceof Gen1Device) void coiot?.at(device).catch(() => {});
      announcer?.announce(device as RpcDevice | Gen1Device);
    },
    children: (device) => children.get(device) ?? [],
    fingerprint: (device) => listener.fingerprint(device),
  };
  let control: Control | undefined;
  const close = async () => {
    for (const device of devices) device.stop();
    await Promise.all([control?.close(), listener.close(), coiot?.close(), announcer?.close()]);
  };
  const find = (which: string): RpcDevice | Gen1Device => {
    const name = which.toLowerCase();
    const found = devices.find(
      ({ mac, id, address }) => mac.toLowerCase() === name || id.toLowerCase() === name || address === name,
    );
    if (found === undefined) throw new Error(`no device ${which}`);
    return found;
  };
  try {
    for (const spec of laidOut(options)) {
      const { kind, of } = modelOf(spec.model);
      devices.push(
        kind === "gen1"
          ? new Gen1Device(spec, of, spec.mac, spec.address, world, coiot?.send)
          : new RpcDevice(spec, of, spec.mac, spec.address, world),
      );
    }
    for (const device of devices) {
      const parent = device.spec.behind === undefined ? undefined : find(device.spec.behind);
      if (parent !== undefined) {
        const before = children.get(parent) ?? [];
        device.inner = `192.168.33.${before.length + 2}`;
        children.set(parent, [...before, device]);
        await listener.addChild(device, parent);
      } else listener.add(device);
      if (device instanceof Gen1Device && parent === undefined) await coiot?.at(device);
    }
    for (const device of devices) device.start();
    announcer?.announceAll();
    const fleet = {
      devices: devices as readonly DeviceHandle[],
      port: listener.port,
      tlsPort: listener.tlsPort,
      ...(coiot === undefined ? {} : { coiotPort }),
      device: find,
      close,
    };
    if (options.control === undefined) return fleet;
    control = await startControl(fleet, options.control.port ?? 0);
    return { ...fleet, controlUrl: control.url };
  } catch (error) {
    await close();
    throw error;
  }
}
