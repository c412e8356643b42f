/** Ours with a fleet, as the device agent keeps it. Arguments: a file with the devices, `sockets` or `polls`. Commands: see `fleet-driver.ts`. */
import { readFileSync } from "node:fs";
import { Fleet } from "@millrace/device-agent/adapters/shelly/fleet.ts";
import { type BenchDevice, each, serve } from "./fleet-driver.ts";

const [file, mode] = process.argv.slice(2);
const devices = JSON.parse(readFileSync(file!, "utf8")) as BenchDevice[];
const HOUR = 3_600_000;
let notices = 0;
let whole = 0;
let left = devices.length;
let allSeen: () => void = () => {};
const nothing = () => {};
const fleet = await Fleet.open({
  listener: {
    seen: nothing,
    away: nothing,
    sighted: nothing,
    lost: (mac, why) => console.error(`${mac} was lost: ${why?.message}`),
    status: (_, __, change) => {
      if (change !== undefined) notices++;
      else if (++whole === left) allSeen();
    },
    revision: nothing,
    event: nothing,
    samples: nothing,
    address: nothing,
    trouble: (mac, why) => console.error(`${mac}: ${why.message}`),
    stranger: nothing,
  },
  credentials: async () => undefined,
  onError: (error) => console.error(error),
});

function keep(): void {
  for (const { mac, id, model, generation, url } of devices) {
    const { hostname: host, port } = new URL(url);
    fleet.keep({
      identity: { mac, id, model, generation, firmware: "", login: false, shelly: {} },
      address: { host, port: Number(port), scheme: "http" },
      reach: mode === "polls" ? "wait" : "dial",
      pollMs: HOUR,
      lostAfterMs: 4 * HOUR,
    });
  }
}

const askAll = () => each(devices, ({ mac }) => fleet.device(mac)!.status());

if (mode === "polls") keep();
await serve({
  open: async () => {
    left = devices.length;
    const seen = new Promise<void>((resolve) => {
      allSeen = resolve;
    });
    keep();
    await seen;
  },
  status: askAll,
  poll: askAll,
  notices: () => notices,
  close: () => fleet.close(),
});
