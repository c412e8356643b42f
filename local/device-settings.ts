/** The settings of devices: of which network they are, and where they may come by themselves. */
import { flag, path, text, url, whole } from "./setting-values.ts";
import type { Declaration } from "./settings.ts";

export const deviceDeclarations = {
  site: {
    env: "MILLRACE_SITE",
    key: "devices.site",
    read: text,
    fallback: "home",
    meaning: "the network in which this machine stands: it talks to the devices of this site",
  },
  devicesListen: {
    env: "MILLRACE_DEVICES_LISTEN",
    key: "devices.listen",
    read: text,
    fallback: undefined,
    meaning: "where devices dial in by their outbound WebSocket (0.0.0.0:7481); nowhere unless set",
  },
  coiotListen: {
    env: "MILLRACE_COIOT_LISTEN",
    key: "devices.coiot_listen",
    read: text,
    fallback: undefined,
    meaning: "where CoIoT of devices of the first generation is heard (0.0.0.0:5683); nowhere unless set",
  },
  devicesMdns: {
    env: "MILLRACE_DEVICES_MDNS",
    key: "devices.mdns",
    read: flag,
    fallback: "true",
    meaning: "devices that went away are looked for by mDNS",
  },
  devicesMdnsInterface: {
    env: "MILLRACE_DEVICES_MDNS_INTERFACE",
    key: "devices.mdns_interface",
    read: text,
    fallback: undefined,
    meaning: "address of the one interface through which scans ask by mDNS; as the system chooses unless set",
  },
  devicesPollSeconds: {
    env: "MILLRACE_DEVICES_POLL_SECONDS",
    key: "devices.poll_seconds",
    read: whole(5, 86_400),
    fallback: "60",
    meaning: "seconds between two looks at a device, where neither it nor a group of it says otherwise",
  },
  devicesLostSeconds: {
    env: "MILLRACE_DEVICES_LOST_SECONDS",
    key: "devices.lost_seconds",
    read: whole(1, 86_400),
    fallback: "120",
    meaning: "seconds of silence after which a device is lost",
  },
  devicesSampleSeconds: {
    env: "MILLRACE_DEVICES_SAMPLE_SECONDS",
    key: "devices.sample_seconds",
    read: whole(1, 3_600),
    fallback: "60",
    meaning: "seconds between two writings of what devices measured",
  },
  devicesReadHours: {
    env: "MILLRACE_DEVICES_READ_HOURS",
    key: "devices.read_hours",
    read: whole(1, 720),
    fallback: "24",
    meaning: "hours after which a configuration is read again although the device told of no change",
  },
  devicesAtOnce: {
    env: "MILLRACE_DEVICES_AT_ONCE",
    key: "devices.at_once",
    read: whole(1, 1_000),
    fallback: "32",
    meaning: "devices on which tasks are carried out at the same moment",
  },
  devicesLookMs: {
    env: "MILLRACE_DEVICES_LOOK_MS",
    key: "devices.look_ms",
    read: whole(20, 60_000),
    fallback: "2000",
    meaning: "milliseconds between two looks at a device that restarts, updates itself, or changes its network",
  },
  firmwareListen: {
    env: "MILLRACE_FIRMWARE_LISTEN",
    key: "firmware.listen",
    read: text,
    fallback: undefined,
    meaning: "where devices fetch firmware from here (0.0.0.0:7482), without internet; from the maker unless set",
  },
  firmwareHost: {
    env: "MILLRACE_FIRMWARE_HOST",
    key: "firmware.host",
    read: text,
    fallback: undefined,
    meaning: "this machine as devices reach it for firmware; the address from which it talks to them unless set",
  },
  firmwareIndex: {
    env: "MILLRACE_FIRMWARE_INDEX",
    key: "firmware.index",
    read: url("http", "https"),
    fallback: "https://updates.shelly.cloud/update",
    meaning: "the maker's index of firmware for Gen2 and later; the name of the app is put behind it",
  },
  firmwareIndexGen1: {
    env: "MILLRACE_FIRMWARE_INDEX_GEN1",
    key: "firmware.index_gen1",
    read: url("http", "https"),
    fallback: "https://api.shelly.cloud/files/firmware",
    meaning: "the maker's index of firmware for Gen1",
  },
  firmwareCa: {
    env: "MILLRACE_FIRMWARE_CA",
    key: "firmware.ca",
    read: path,
    fallback: undefined,
    meaning: "a file with the authority of the maker's servers (PEM), where the system does not know it",
  },
} as const satisfies Record<string, Declaration<unknown>>;

type DeviceSettings = { readonly [K in keyof typeof deviceDeclarations]?: unknown };

/** As the agent takes them. */
export const deviceEnvironment = (settings: DeviceSettings): Readonly<Record<string, string | undefined>> =>
  Object.fromEntries(
    Object.entries(deviceDeclarations).map(([name, { env }]) => {
      const value = settings[name as keyof DeviceSettings];
      if (typeof value === "boolean") return [env, value ? "1" : "0"];
      return [env, value === undefined ? undefined : String(value)];
    }),
  );
