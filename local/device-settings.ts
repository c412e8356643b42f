/** The settings of devices: of which network they are, and where they may come by themselves. */
import { text } from "./setting-values.ts";
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
} as const satisfies Record<string, Declaration<unknown>>;
