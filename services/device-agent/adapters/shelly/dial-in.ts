/**
 * Where Gen2+ devices dial in (outbound WebSocket). Nobody logs in on this channel: a device is who its first frame says, and who its
 * own answer to `Shelly.GetDeviceInfo` confirms. After a power cut all of them come at once, so who is let in is bounded and the rest
 * told to come again.
 */

import { randomBytes } from "node:crypto";
import { createServer as createPlain, type IncomingMessage, type Server } from "node:http";
import { createServer as createSecure } from "node:https";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";
import { type WebSocket, WebSocketServer } from "ws";
import { type Identity, identityOf, macOf } from "./device.ts";
import { type DeviceFailure, failure } from "./failures.ts";
import { Gate } from "./gate.ts";
import { resultOf } from "./rpc.ts";
import { FRAME_BYTES, type Notice, RpcPeer } from "./rpc-peer.ts";

export interface DialInOptions {
  readonly port: number;
  readonly host?: string;
  /** For `wss://`; devices check it as their `ssl_ca` says. */
  readonly tls?: { readonly cert: string; readonly key: string };
  /**
   * A device is who it says. Whoever takes it gives `peer.handTo` a listener at once, or closes it.
   * @param notices what it has told so far: its full status, mostly
   */
  readonly onDevice: (arrived: Arrived) => void;
  /** Who came and was not let in, or not recognised. */
  readonly onRefused?: (remote: string, why: DeviceFailure) => void;
  readonly limits?: Partial<DialInLimits>;
}

export interface Arrived {
  readonly peer: RpcPeer;
  readonly identity: Identity;
  readonly notices: ReadonlyArray<Notice>;
  readonly remote: string;
}

export interface DialInLimits {
  /** Sockets that have not been recognised; from 70 % on, new ones are told to come again. */
  readonly waiting: number;
  /** Asked who they are at the same moment. */
  readonly atOnce: number;
  /** Sockets in all. */
  readonly sockets: number;
  /** From the socket to being recognised. */
  readonly recogniseMs: number;
  /** Unrecognised sockets from one address. */
  readonly perAddress: number;
}

const LIMITS: DialInLimits = { waiting: 1_000, atOnce: 64, sockets: 16_000, recogniseMs: 30_000, perAddress: 32 };
const HIGH_WATER = 0.7;
/** Who was not recognised stays away for a while, longer each time. */
const COOL_MS = [30_000, 60_000, 120_000, 300_000] as const;
const REMEMBERED = 10_000;
const NOTICES = 4;

export class DialIn {
  readonly #options: DialInOptions;
  readonly #limits: DialInLimits;
  readonly #server: Server;
  readonly #sockets: WebSocketServer;
  readonly #gate: Gate;
  readonly #waiting = new Map<string, number>();
  readonly #cooling = new Map<string, { readonly until: number; readonly times: number }>();
  #unrecognised = 0;

  private constructor(options: DialInOptions) {
    this.#options = options;
    this.#limits = { ...LIMITS, ...options.limits };
    this.#gate = new Gate(this.#limits.atOnce);
    const { tls } = options;
    this.#server = tls === undefined ? createPlain() : createSecure({ ...tls, minVersion: "TLSv1.2" });
    this.#server.on("request", (_, response) => response.writeHead(426, { upgrade: "websocket" }).end());
    this.#server.maxConnections = this.#limits.sockets;
    this.#server.requestTimeout = 10_000;
    this.#server.headersTimeout = 10_000;
    this.#sockets = new WebSocketServer({
      noServer: true,
      maxPayload: FRAME_BYTES,
      perMessageDeflate: false,
      clientTracking: true,
      handleProtocols: (offered) => (offered.has("json-rpc") ? "json-rpc" : false),
    });
    this.#server.on("upgrade", (request, socket, head) => this.#admit(request, socket, head));
  }

  /** @throws what listening throws */
  static async open(options: DialInOptions): Promise<DialIn> {
    const made = new DialIn(options);
    await new Promise<void>((resolve, reject) => {
      made.#server.once("error", reject);
      made.#server.listen(options.port, options.host ?? "0.0.0.0", () => {
        made.#server.removeListener("error", reject);
        resolve();
      });
    });
    return made;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Sockets that stand. */
  get sockets(): number {
    return this.#sockets.clients.size;
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets.clients) socket.terminate();
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  #admit(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const remote = (request.socket.remoteAddress ?? "").replace(/^::ffff:/, "");
    const why = this.#noRoom(remote);
    if (why !== undefined) {
      socket.end(`HTTP/1.1 503 Service Unavailable\r\nRetry-After: ${why.seconds}\r\nConnection: close\r\n\r\n`);
      this.#options.onRefused?.(remote, failure("not-sent", why.reason));
      return;
    }
    this.#sockets.handleUpgrade(request, socket, head, (opened) => {
      this.#unrecognised += 1;
      this.#waiting.set(remote, (this.#waiting.get(remote) ?? 0) + 1);
      void this.#receive(opened, remote).finally(() => {
        this.#unrecognised -= 1;
        const left = (this.#waiting.get(remote) ?? 1) - 1;
        if (left === 0) this.#waiting.delete(remote);
        else this.#waiting.set(remote, left);
      });
    });
  }

  #noRoom(remote: string): { readonly reason: string; readonly seconds: number } | undefined {
    const { waiting, perAddress, sockets } = this.#limits;
    const cooling = this.#cooling.get(remote);
    const left = cooling === undefined ? 0 : cooling.until - performance.now();
    if (left > 0) return { reason: "It was not recognised a moment ago.", seconds: Math.ceil(left / 1_000) };
    if (this.#unrecognised >= waiting * HIGH_WATER || this.sockets >= sockets) {
      return { reason: "Too many come at once.", seconds: 5 + Math.floor(Math.random() * 25) };
    }
    if ((this.#waiting.get(remote) ?? 0) >= perAddress)
      return { reason: "Too many come from one address.", seconds: 30 };
    return undefined;
  }

  async #receive(socket: WebSocket, remote: string): Promise<void> {
    const notices: Notice[] = [];
    const { promise: named, resolve, reject } = Promise.withResolvers<string>();
    const peer = new RpcPeer(socket, `millrace-${randomBytes(6).toString("hex")}`, {
      onSource: resolve,
      onNotice: (notice) => void (notices.length < NOTICES && notices.push(notice)),
      onClose: reject,
    });
    const timer = setTimeout(
      () => peer.close(failure("timeout", "It did not say who it is.")),
      this.#limits.recogniseMs,
    );
    try {
      const src = await named;
      const identity = await this.#gate.pass(() => this.#confirm(peer, src));
      this.#cooling.delete(remote);
      this.#options.onDevice({ peer, identity, notices, remote });
    } catch (error) {
      const why = error as DeviceFailure;
      // Who merely broke off may come again at once: behind one address there may be many.
      if (why.kind !== "unreachable") this.#cool(remote);
      peer.close(why);
      this.#options.onRefused?.(remote, why);
    } finally {
      clearTimeout(timer);
    }
  }

  async #confirm(peer: RpcPeer, src: string): Promise<Identity> {
    const { value } = await peer.call(
      { method: "Shelly.GetDeviceInfo", timeoutMs: this.#limits.recogniseMs },
      undefined,
    );
    const identity = identityOf(resultOf(value, "Shelly.GetDeviceInfo"));
    const said = macOf(src.slice(src.lastIndexOf("-") + 1));
    if (identity.generation === 1 || said !== identity.mac) {
      throw failure("another-device", "Who it says it is in its frames and in its answer are two.");
    }
    return identity;
  }

  #cool(remote: string): void {
    const times = this.#cooling.get(remote)?.times ?? 0;
    this.#cooling.delete(remote);
    const until = performance.now() + COOL_MS[Math.min(times, COOL_MS.length - 1)]!;
    this.#cooling.set(remote, { until, times: times + 1 });
    if (this.#cooling.size > REMEMBERED) this.#cooling.delete(this.#cooling.keys().next().value!);
  }
}
