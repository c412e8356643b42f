/** Dialling a device: `ws://<address>/rpc`. */
import { WebSocket } from "ws";
import { type Connecting, connect, originOf, sentAway } from "./address.ts";
import { failure, failureOf } from "./failures.ts";
import { FRAME_BYTES, type PeerListener, RpcPeer } from "./rpc-peer.ts";

const HANDSHAKE_MS = 5_000;

/**
 * The device answers to frames with a `src` only, and sends what it tells by itself to the first of them.
 * @throws DeviceFailure unreachable, timeout, certificate-changed, too-busy
 */
export async function dial(connecting: Connecting, src: string, listener: PeerListener): Promise<RpcPeer> {
  const socket = await connect(connecting);
  const url = `${originOf(connecting.address).replace(/^http/, "ws")}/rpc`;
  return new Promise((resolve, reject) => {
    const ws = new WebSocket(url, {
      // The socket that was judged, and no other.
      createConnection: () => socket,
      handshakeTimeout: HANDSHAKE_MS,
      perMessageDeflate: false,
      maxPayload: FRAME_BYTES,
      followRedirects: false,
      skipUTF8Validation: false,
    });
    const refused = (error: unknown) => {
      ws.on("error", () => {});
      ws.terminate();
      socket.destroy();
      reject(error);
    };
    ws.once("unexpected-response", (_, response) => {
      const code = response.statusCode ?? 0;
      response.destroy();
      if (code === 503) return refused(failure("too-busy", "All of its channels are taken.", { code }));
      if (code >= 300 && code < 400) return refused(sentAway(connecting.address, code, response.headers.location));
      refused(failure("garbled", `It takes no WebSocket (${code}).`, { code }));
    });
    ws.once("error", (error) => refused(failureOf(error, false)));
    ws.once("open", () => {
      ws.removeAllListeners("error");
      ws.removeAllListeners("unexpected-response");
      resolve(new RpcPeer(ws, src, listener));
    });
  });
}
