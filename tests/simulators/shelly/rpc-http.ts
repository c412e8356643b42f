/** A Gen2+ device over HTTP (`/rpc`, `/rpc/<Method>`, `/shelly`) and over the WebSocket `/rpc`. */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { WebSocket } from "ws";
import { headerOf, messageOf } from "./auth.ts";
import type { JsonObject } from "./face.ts";
import { answerBy, textOf, type Way } from "./faults.ts";
import { RpcError } from "./methods/rpc-error.ts";
import { objectOf } from "./methods/shelly.ts";
import type { Channel, RpcDevice } from "./rpc-device.ts";

/** Non-persistent channels at once; above it, 503 (documented). */
export const HTTP_CHANNELS = 6;
const SERVER = "ShellyHTTP/1.0.0";
const FLOOD_BYTES = 100_000_000;
const FLOOD_PIECE = Buffer.alloc(65_536, "x");
const inFlight = new WeakMap<RpcDevice, number>();

/** The ways out of an HTTP response, of either generation. */
export function httpWay(response: ServerResponse, headers: () => Record<string, string>): Way {
  const json = () => ({ "content-type": "application/json", server: SERVER, ...headers() });
  return {
    send: (text, status) => {
      const type = status === 200 || text.startsWith("{") ? {} : { "content-type": "text/plain" };
      response.writeHead(status, { ...json(), ...type, "content-length": Buffer.byteLength(text) }).end(text);
    },
    refuse: (status, text) => {
      response.writeHead(status, { ...json(), "content-type": "text/plain" }).end(text);
    },
    breakOff: (text) => {
      response.writeHead(200, { ...json(), "content-length": Buffer.byteLength(text) });
      response.write(text.slice(0, text.length >> 1), () => response.socket?.resetAndDestroy());
    },
    flood: () => {
      response.writeHead(200, json());
      response.write('{"a":"');
      let left = FLOOD_BYTES;
      const more = () => {
        while (left > 0 && !response.destroyed) {
          left -= FLOOD_PIECE.length;
          if (!response.write(FLOOD_PIECE)) return void response.once("drain", more);
        }
        response.end('"}');
      };
      more();
    },
  };
}

/** A query's values are JSON where they can be, else text. */
function paramsOf(query: URLSearchParams): JsonObject {
  const params: JsonObject = {};
  for (const [key, text] of query) {
    try {
      params[key] = JSON.parse(text);
    } catch {
      params[key] = text;
    }
  }
  return params;
}

export function answerRpc(device: RpcDevice, request: IncomingMessage, response: ServerResponse, body: string): void {
  const target = request.url ?? "/";
  const [path = "/", query = ""] = target.split(/\?(.*)/s);
  const rest = /^\/rpc\/([A-Za-z0-9_.]+)$/.exec(path)?.[1];
  const frame = path === "/rpc" ? objectOf(body) : undefined;
  const method =
    path === "/shelly" ? "Shelly.GetDeviceInfo" : (rest ?? (typeof frame?.method === "string" ? frame.method : path));
  const now = inFlight.get(device) ?? 0;
  const end = device.begin(method);
  inFlight.set(device, now + 1);
  response.on("close", () => {
    inFlight.set(device, (inFlight.get(device) ?? 1) - 1);
    end();
  });
  // Firmware 1.x closes after each answer; from 2.0.0 on connections stay, and 2.0.1 ends the idle ones.
  const { dialect } = device;
  const closes = dialect === "1.x" || dialect === "wall";
  if (closes) response.shouldKeepAlive = false;
  if (dialect === "2.0.1") request.socket.setTimeout(60_000);
  let challenge: string | undefined;
  const way = httpWay(response, () => (challenge === undefined ? {} : { "www-authenticate": challenge }));
  if (now >= HTTP_CHANNELS) {
    way.refuse(503, "Service Unavailable");
    return;
  }

  const open = method.toLowerCase() === "shelly.getdeviceinfo";
  answerBy(device, method, way, () => {
    let trusted = open;
    if (!open && frame?.auth === undefined) {
      const verdict = device.login.http(request.method ?? "GET", target, request.headers.authorization);
      if (verdict.status === 401) {
        challenge = headerOf(verdict.challenge);
        const error = { code: 401, message: messageOf(verdict.challenge) };
        return {
          status: 401,
          text: frame === undefined ? textOf(error) : textOf({ id: frame.id ?? null, src: device.id, error }),
        };
      }
      if (verdict.status === 429) return { status: 429, text: verdict.text };
      trusted = true;
    }
    if (path === "/shelly") return { status: 200, text: textOf(device.info()) };
    if (path === "/rpc") {
      if (frame === undefined) return { status: 400, text: textOf({ code: -103, message: "Invalid frame!" }) };
      return { status: 200, text: textOf(device.answer(frame, "http", trusted)) };
    }
    if (rest === undefined) return { status: 404, text: textOf({ code: 404, message: `No handler for ${path}` }) };
    return callRest(device, rest, { ...paramsOf(new URLSearchParams(query)), ...(objectOf(body) ?? {}) });
  });
}

/** Codes 403 and 404 are kept as the status, others become 500 (mongoose-os rpc-common). */
function callRest(device: RpcDevice, method: string, params: JsonObject): { status: number; text: string } {
  try {
    return { status: 200, text: textOf(device.call(method, params, "http")) };
  } catch (error) {
    if (!(error instanceof RpcError)) throw error;
    const { code, message } = error;
    return { status: code === 403 || code === 404 ? code : 500, text: textOf({ code, message }) };
  }
}

/** A client's WebSocket: calls, and notifications to who has said `src`. */
export function acceptSocket(device: RpcDevice, ws: WebSocket): void {
  const channel: Channel = { peer: undefined, send: (text) => ws.readyState === ws.OPEN && ws.send(text) };
  const connection = { destroy: () => ws.terminate() };
  device.attach(connection);
  device.join(channel);
  ws.on("error", () => {});
  ws.on("close", () => {
    device.detach(connection);
    device.leave(channel);
  });
  ws.on("message", (data) => {
    const frame = objectOf(String(data));
    if (frame === undefined) {
      const error = { code: -103, message: "Invalid frame!" };
      return channel.send(textOf({ id: null, src: device.id, error }));
    }
    if (typeof frame.src === "string" && frame.src !== "") channel.peer = frame.src;
    const method = typeof frame.method === "string" ? frame.method : "";
    if (method === "" && ("result" in frame || "error" in frame)) return;
    const end = device.begin(method);
    const head = { id: frame.id ?? null, src: device.id, ...(channel.peer === undefined ? {} : { dst: channel.peer }) };
    answerBy(device, method, socketWay(ws, channel, head), () => ({
      status: 200,
      text: textOf(device.answer(frame, "WS_in", false)),
    }));
    end();
  });
}

function socketWay(ws: WebSocket, channel: Channel, head: JsonObject): Way {
  return {
    send: (text) => channel.send(text),
    refuse: (code, message) => channel.send(textOf({ ...head, error: { code, message } })),
    breakOff: (text) => {
      ws.send(text.slice(0, text.length >> 1), { fin: false }, () => ws.terminate());
    },
    flood: () => {
      let left = FLOOD_BYTES;
      const more = () => {
        left -= FLOOD_PIECE.length;
        if (ws.readyState === ws.OPEN)
          ws.send(FLOOD_PIECE, { fin: left <= 0, binary: false }, left > 0 ? more : () => {});
      };
      more();
    },
  };
}
