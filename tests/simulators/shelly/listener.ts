/** The sockets of a fleet: one port for all its addresses, and TLS beside it. Which device is meant is told by the address dialled. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createNetServer, type Server as NetServer, type Socket } from "node:net";
import { createSecureContext, type SecureContext, TLSSocket } from "node:tls";
import { type WebSocket, WebSocketServer } from "ws";
import { type Certificate, selfSigned } from "./certificate.ts";
import type { Device } from "./device.ts";
import { Gen1Device } from "./gen1-device.ts";
import { answerGen1 } from "./gen1-http.ts";
import { RpcDevice } from "./rpc-device.ts";
import { acceptSocket, answerRpc } from "./rpc-http.ts";

const BODY_BYTES = 128 * 1024;

export class Listener {
  readonly #byAddress = new Map<string, Device>();
  readonly #bySocket = new WeakMap<Socket, Device>();
  readonly #http: Server;
  readonly #plain: NetServer;
  readonly #tls: NetServer;
  readonly #children = new Map<Device, NetServer>();
  readonly #wss = new WebSocketServer({
    noServer: true,
    perMessageDeflate: false,
    maxPayload: 1 << 20,
    skipUTF8Validation: true,
  });
  readonly #certificates = new Map<Device, { certificate: Certificate; context: SecureContext }>();
  readonly #open = new Set<Socket>();
  port = 0;
  tlsPort = 0;

  constructor() {
    this.#http = createServer({ requestTimeout: 0, headersTimeout: 30_000, keepAliveTimeout: 0, noDelay: true });
    this.#http.on("request", (request, response) => this.#request(request, response));
    this.#http.on("upgrade", (request, socket: Socket, head) => this.#upgrade(request, socket, head));
    this.#http.on("clientError", (_, socket) => socket.destroy());
    this.#plain = createNetServer({ noDelay: true }, (socket) => this.#connection(socket, this.#deviceAt(socket)));
    this.#tls = createNetServer({ noDelay: true }, (socket) => this.#secure(socket));
  }

  async listen(port: number, tlsPort: number): Promise<void> {
    // All of 127/8 on one descriptor; what comes from elsewhere is dropped at once.
    this.port = await bind(this.#plain, port, "0.0.0.0");
    this.tlsPort = await bind(this.#tls, tlsPort, "0.0.0.0");
  }

  add(device: Device): void {
    if (this.#byAddress.has(device.address)) throw new Error(`two devices at ${device.address}`);
    this.#byAddress.set(device.address, device);
  }

  /** A child of a range extender has no address of its own: a port of its parent's leads to it; again where that has moved to. */
  async addChild(device: Device, parent: Device): Promise<void> {
    this.#children.get(device)?.close();
    const server = createNetServer({ noDelay: true }, (socket) =>
      this.#connection(socket, parent.online ? device : undefined),
    );
    this.#children.set(device, server);
    device.address = parent.address;
    device.mport = await bind(server, device.mport ?? 0, parent.address);
  }

  /** @param hidden who had lost the address that is free now to this one */
  moved(device: Device, was: string, hidden: Device | undefined): void {
    if (this.#byAddress.get(was) === device) this.#byAddress.delete(was);
    if (hidden !== undefined && !this.#byAddress.has(was)) this.#byAddress.set(was, hidden);
    // Who had the address before is hidden by who has it now, as on a real network.
    this.#byAddress.set(device.address, device);
  }

  fingerprint(device: Device): string {
    return this.#identity(device).certificate.fingerprint;
  }

  async close(): Promise<void> {
    const servers = [this.#plain, this.#tls, ...this.#children.values()];
    for (const socket of this.#open) socket.destroy();
    await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
    this.#wss.close();
  }

  #deviceAt(socket: Socket): Device | undefined {
    const address = socket.localAddress?.replace(/^::ffff:/, "") ?? "";
    return address.startsWith("127.") ? this.#byAddress.get(address) : undefined;
  }

  /** @returns whether anybody is there. */
  #connection(socket: Socket, device: Device | undefined, layer?: TLSSocket): boolean {
    if (device === undefined || !device.online) {
      socket.resetAndDestroy();
      return false;
    }
    this.#open.add(socket);
    device.stats.connections++;
    device.attach(socket);
    socket.on("error", () => {});
    socket.on("close", () => {
      this.#open.delete(socket);
      device.detach(socket);
    });
    this.#bySocket.set(layer ?? socket, device);
    if (layer === undefined) this.#http.emit("connection", socket);
    return true;
  }

  #secure(socket: Socket): void {
    const device = this.#deviceAt(socket);
    if (device === undefined || (device.spec.https ?? "off") === "off") {
      socket.resetAndDestroy();
      return;
    }
    const layer = new TLSSocket(socket, { isServer: true, secureContext: this.#identity(device).context });
    layer.on("error", () => socket.destroy());
    if (!this.#connection(socket, device, layer)) return;
    layer.on("secure", () => this.#http.emit("connection", layer));
  }

  #identity(device: Device) {
    let found = this.#certificates.get(device);
    if (found === undefined) {
      const certificate = selfSigned(device.id, device.address);
      found = { certificate, context: createSecureContext({ key: certificate.key, cert: certificate.pem }) };
      this.#certificates.set(device, found);
    }
    return found;
  }

  #request(request: IncomingMessage, response: ServerResponse): void {
    const device = this.#bySocket.get(request.socket);
    if (device === undefined) return void request.socket.destroy();
    if (device.spec.https === "enforced" && !(request.socket instanceof TLSSocket)) {
      response.writeHead(301, { location: `${device.tlsUrl}${request.url ?? "/"}`, connection: "close" }).end();
      return;
    }
    const pieces: Buffer[] = [];
    let bytes = 0;
    request.on("data", (piece: Buffer) => {
      bytes += piece.length;
      if (bytes <= BODY_BYTES) pieces.push(piece);
    });
    request.on("error", () => {});
    request.on("end", () => {
      if (bytes > BODY_BYTES) return void response.writeHead(413, { connection: "close" }).end();
      const body = Buffer.concat(pieces).toString();
      if (device instanceof RpcDevice) answerRpc(device, request, response, body);
      else if (device instanceof Gen1Device) answerGen1(device, request, response, body);
    });
  }

  #upgrade(request: IncomingMessage, socket: Socket, head: Buffer): void {
    const device = this.#bySocket.get(request.socket);
    const path = (request.url ?? "").split("?")[0];
    if (
      !(device instanceof RpcDevice) ||
      path !== "/rpc" ||
      (device.spec.https === "enforced" && !(socket instanceof TLSSocket))
    ) {
      socket.end("HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
      return;
    }
    this.#wss.handleUpgrade(request, socket, head, (ws: WebSocket) => acceptSocket(device, ws));
  }
}

function bind(server: NetServer, port: number, host: string): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen({ port, host, backlog: 4_096 }, () => {
      server.off("error", reject);
      const address = server.address();
      resolve(typeof address === "object" && address !== null ? address.port : port);
    });
  });
}
