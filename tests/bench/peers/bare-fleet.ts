/**
 * Peer: bare `ws` and `undici` with a fleet. Connects, asks, parses, merges; no login, no deadline, no back-off, no check of who answers,
 * no bound. Argument: a file with the devices. Commands: see `fleet-driver.ts`.
 */
import { readFileSync } from "node:fs";
import { Agent } from "undici";
import { WebSocket } from "ws";
import { type BenchDevice, each, serve } from "../fleet-driver.ts";

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
type JsonObject = { [key: string]: Json };

const devices = JSON.parse(readFileSync(process.argv[2]!, "utf8")) as BenchDevice[];
const sockets = new Map<string, WebSocket>();
const statuses = new Map<string, JsonObject>();
const waiting = new Map<string, (result: JsonObject) => void>();
let notices = 0;

const isObject = (value: Json | undefined): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value);

function merge(into: JsonObject, change: JsonObject): void {
  for (const [key, value] of Object.entries(change)) {
    const now = into[key];
    if (isObject(now) && isObject(value)) merge(now, value);
    else into[key] = value;
  }
}

function call(mac: string, method: string): Promise<JsonObject> {
  return new Promise((resolve) => {
    waiting.set(mac, resolve);
    sockets.get(mac)!.send(`{"id":1,"src":"peer","method":"${method}"}`);
  });
}

async function ask(mac: string): Promise<void> {
  statuses.set(mac, await call(mac, "Shelly.GetStatus"));
}

const agent = new Agent({ connections: 1, pipelining: 1, keepAliveTimeout: 4_000, allowH2: false });
const kept = [] as BenchDevice[];

await serve({
  open: () =>
    each(devices, async ({ mac, url }) => {
      const socket = new WebSocket(`${url.replace("http", "ws")}/rpc`, { perMessageDeflate: false });
      sockets.set(mac, socket);
      socket.on("message", (data) => {
        const frame = JSON.parse(String(data)) as JsonObject;
        if (isObject(frame.params)) {
          merge(statuses.get(mac)!, frame.params);
          notices++;
        } else if (isObject(frame.result)) {
          waiting.get(mac)?.(frame.result);
        }
      });
      await new Promise((resolve, reject) => socket.once("open", resolve).once("error", reject));
      // As ours: who it is comes first.
      if ((await call(mac, "Shelly.GetDeviceInfo")).mac !== mac) throw new Error(`another than ${mac}`);
      await ask(mac);
      kept.push({ mac, url } as BenchDevice);
    }),
  status: () => each(kept, ({ mac }) => ask(mac)),
  poll: () =>
    each(devices, async ({ mac, url }) => {
      const { body } = await agent.request({ origin: url, path: "/rpc/Shelly.GetStatus", method: "GET" });
      statuses.set(mac, (await body.json()) as JsonObject);
    }),
  notices: () => notices,
  close: async () => {
    for (const socket of sockets.values()) socket.terminate();
    await agent.destroy();
  },
});
