/** The WebSocket that a device opens to its server: no login, a full status first, then calls and notifications both ways. */
import { WebSocket } from "ws";
import type { JsonObject } from "./face.ts";
import { objectOf } from "./methods/shelly.ts";
import type { Channel, RpcDevice } from "./rpc-device.ts";

export class Outbound {
  readonly #device: RpcDevice;
  #socket: WebSocket | undefined;
  #redial: (() => void) | undefined;
  /** What it dials is what was set when it came up. */
  #server: string | undefined;
  #boots = -1;

  constructor(device: RpcDevice) {
    this.#device = device;
  }

  get connected(): boolean {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  dial(): void {
    const { enable, server } = this.#device.configOf("ws");
    if (this.#boots !== this.#device.stats.boots) {
      this.#boots = this.#device.stats.boots;
      this.#server = enable === true && typeof server === "string" ? server : undefined;
    }
    if (this.#server !== undefined) this.#connect(this.#server);
  }

  stop(): void {
    this.#redial?.();
    this.#redial = undefined;
    this.#socket?.terminate();
    this.#socket = undefined;
  }

  #connect(server: string): void {
    const device = this.#device;
    this.stop();
    const { ssl_ca } = device.configOf("ws");
    const socket = new WebSocket(server, ["json-rpc"], {
      perMessageDeflate: false,
      handshakeTimeout: 10_000,
      maxPayload: 1 << 20,
      ...(device.mport === undefined ? { localAddress: device.address } : {}),
      rejectUnauthorized: ssl_ca !== "*",
    });
    this.#socket = socket;
    const connection = { destroy: () => socket.terminate() };
    device.attach(connection);
    const channel: Channel = { peer: "ws", send: (text) => socket.readyState === WebSocket.OPEN && socket.send(text) };
    socket.on("error", () => {});
    socket.on("open", () => {
      if (!device.online || this.#socket !== socket) return socket.terminate();
      const params = { ts: device.now() / 1000, ...(device.status() as JsonObject) };
      channel.send(JSON.stringify({ src: device.id, dst: "ws", method: "NotifyFullStatus", params }));
      device.notify("NotifyStatus", { ws: { connected: true } });
      device.join(channel);
    });
    socket.on("message", (data) => {
      const frame = objectOf(String(data));
      // An answer to what it has sent asks for nothing.
      if (frame === undefined || typeof frame.method !== "string") return;
      const end = device.begin(frame.method);
      channel.send(JSON.stringify(device.answer(frame, "WS_out", true)));
      end();
    });
    socket.on("close", () => {
      device.detach(connection);
      device.leave(channel);
      if (this.#socket !== socket) return;
      this.#socket = undefined;
      const { clock, timing } = device.world;
      this.#redial = clock.after(timing.redialMs, () => device.online && this.#connect(server));
    });
  }
}
