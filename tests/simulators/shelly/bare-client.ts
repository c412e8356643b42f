/** As little of a client as tests of the simulator need: one call over HTTP, and a WebSocket that remembers what came. */
import { WebSocket } from "ws";
import { eventually } from "../../harness/eventually.ts";
import type { DeviceHandle, Json, JsonObject } from "./fleet.ts";

export interface Answer {
  readonly status: number;
  readonly body: JsonObject;
}

/** `POST /rpc/<Method>`. */
export async function call(device: DeviceHandle, method: string, params: JsonObject = {}): Promise<Answer> {
  const answer = await fetch(`${device.url}/rpc/${method}`, { method: "POST", body: JSON.stringify(params) });
  return { status: answer.status, body: (await answer.json()) as JsonObject };
}

/** The result. @throws Error with code and message. */
export async function ask(device: DeviceHandle, method: string, params: JsonObject = {}): Promise<JsonObject> {
  const { status, body } = await call(device, method, params);
  if (status !== 200) throw new Error(`${method}: ${status} ${JSON.stringify(body)}`);
  return body;
}

/** The error's code and message. */
export async function refusal(device: DeviceHandle, method: string, params: JsonObject = {}): Promise<Answer> {
  const answer = await call(device, method, params);
  if (answer.status === 200) throw new Error(`${method} was answered: ${JSON.stringify(answer.body)}`);
  return answer;
}

export async function get(
  device: DeviceHandle,
  path: string,
  headers: Record<string, string> = {},
): Promise<{ status: number; text: string }> {
  const answer = await fetch(`${device.url}${path}`, { headers, redirect: "manual" });
  return { status: answer.status, text: await answer.text() };
}

export class Client {
  readonly socket: WebSocket;
  readonly frames: JsonObject[] = [];
  #id = 0;
  closed = false;

  constructor(socket: WebSocket) {
    this.socket = socket;
    socket.on("error", () => {});
    socket.on("close", () => {
      this.closed = true;
    });
    socket.on("message", (data) => {
      try {
        this.frames.push(JSON.parse(String(data)) as JsonObject);
      } catch {
        this.frames.push({ garbage: String(data) });
      }
    });
  }

  static async open(device: DeviceHandle): Promise<Client> {
    const client = new Client(new WebSocket(`${device.url.replace("http", "ws")}/rpc`, { perMessageDeflate: false }));
    await new Promise<void>((resolve, reject) => {
      client.socket.once("open", resolve);
      client.socket.once("error", reject);
    });
    return client;
  }

  /** The whole answer to a call. */
  async call(method: string, params: JsonObject = {}, more: JsonObject = {}): Promise<JsonObject> {
    const id = ++this.#id;
    this.socket.send(JSON.stringify({ id, src: "tests", method, params, ...more }));
    return this.has((frame) => frame.id === id && frame.method === undefined, `an answer to ${method}`);
  }

  has(wanted: (frame: JsonObject) => boolean, what: string): Promise<JsonObject> {
    return eventually(async () => this.frames.find(wanted), what);
  }

  /** Waits for an event of `NotifyEvent`. */
  async event(name: string): Promise<JsonObject> {
    const found = (frame: JsonObject) => eventsOf(frame).find((one) => one.event === name);
    return found(await this.has((frame) => found(frame) !== undefined, `an event ${name}`))!;
  }
}

const eventsOf = ({ method, params }: JsonObject): JsonObject[] =>
  method === "NotifyEvent" ? ((params as JsonObject).events as Json[] as JsonObject[]) : [];
