/** A small HTTP server through which another process plays with the fleet: lists devices, wakes, reboots, changes, breaks them. */
import { createServer, type IncomingMessage } from "node:http";
import { isObject } from "./auth.ts";
import type { DeviceHandle, Fault, Fleet, Json, JsonObject } from "./face.ts";

export interface Control {
  readonly url: string;
  close(): Promise<void>;
}

const BODY_BYTES = 1 << 20;

const shown = (device: DeviceHandle): Json => ({
  mac: device.mac,
  id: device.id,
  model: device.model,
  generation: device.generation,
  address: device.address,
  url: device.url,
  online: device.online,
  stats: { ...device.stats },
});

type Act = (device: DeviceHandle, body: JsonObject) => void;
const textIn = (body: JsonObject, key: string): string => {
  const value = body[key];
  if (typeof value !== "string") throw new Error(`${key}: a text`);
  return value;
};
const objectIn = (body: JsonObject, key: string): JsonObject => {
  const value = body[key];
  if (!isObject(value)) throw new Error(`${key}: an object`);
  return value;
};

const ACTS: Readonly<Record<string, Act>> = {
  wake: (device) => device.wake(),
  sleep: (device) => device.sleep(),
  reboot: (device) => device.reboot(),
  power: (device, { on }) => device.power(on === true),
  move: (device, body) => device.moveTo(textIn(body, "address")),
  change: (device, body) => device.change(textIn(body, "component"), objectIn(body, "config")),
  sense: (device, body) => device.sense(textIn(body, "component"), objectIn(body, "status")),
  press: (device, { id }) => device.press(Number(id ?? 0)),
  fault: (device, body) => device.fault(body as unknown as Fault),
  heal: (device) => device.heal(),
  password: (device, { password }) => device.setPassword(typeof password === "string" ? password : null),
};

async function bodyOf(request: IncomingMessage): Promise<JsonObject> {
  let text = "";
  for await (const piece of request) {
    text += piece;
    if (text.length > BODY_BYTES) throw new Error("too much");
  }
  const body = text === "" ? {} : (JSON.parse(text) as Json);
  if (!isObject(body)) throw new Error("an object is wanted");
  return body;
}

/** Notifications at once, before others get their turn. */
const STORM_STEP = 100;

/** Makes storms: so many changes of status, each device in turn, as fast as they can be told; no two after each other the same. */
function storms(fleet: Fleet): (count: number, component: string) => Promise<void> {
  const on = new Map<DeviceHandle, boolean>();
  return async (count, component) => {
    const online = fleet.devices.filter((device) => device.online);
    for (let sent = 0; sent < count && online.length > 0; ) {
      for (let i = 0; i < STORM_STEP && sent < count; i++, sent++) {
        const device = online[sent % online.length]!;
        const output = on.get(device) !== true;
        on.set(device, output);
        device.sense(component, { output, source: "storm" });
      }
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
}

/**
 * `GET /devices` · `GET /devices/<mac>` (with `config`, `status`, `stored`) · `POST /devices/<mac>/<act>`; what the acts take: `ACTS` ·
 * `POST /storm {count, component}`.
 */
export async function startControl(fleet: Fleet, port: number): Promise<Control> {
  const storm = storms(fleet);
  const server = createServer((request, response) => {
    const answer = (status: number, body: Json) =>
      response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
    const [, collection, which, act] = (request.url ?? "/").split("?")[0]!.split("/");
    const handle = async () => {
      if (collection === "storm" && request.method === "POST") {
        const { count, component } = await bodyOf(request);
        await storm(Number(count ?? 0), typeof component === "string" ? component : "switch:0");
        return answer(200, {});
      }
      if (collection !== "devices") return answer(404, { error: "there are /devices" });
      if (which === undefined || which === "") return answer(200, fleet.devices.map(shown));
      const device = fleet.device(decodeURIComponent(which));
      if (act === undefined) {
        const whole = { config: device.config(), status: device.status(), stored: device.stored() };
        return answer(200, { ...(shown(device) as JsonObject), ...whole });
      }
      const run = ACTS[act];
      if (run === undefined || request.method !== "POST")
        return answer(404, { error: `POST one of ${Object.keys(ACTS).join(", ")}` });
      run(device, await bodyOf(request));
      return answer(200, shown(device));
    };
    handle().catch((error: unknown) => answer(400, { error: error instanceof Error ? error.message : String(error) }));
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, "127.0.0.1", resolve);
  });
  const address = server.address();
  const taken = typeof address === "object" && address !== null ? address.port : port;
  return {
    url: `http://127.0.0.1:${taken}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
