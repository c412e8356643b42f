/** Whether a subscription is let in: the status that it is answered with. */
import { SUBPROTOCOL } from "@millrace/contracts/feed.ts";
import { WebSocket } from "ws";

/** The answer to a subscription over SSE: its status, and the problem if it is one. */
export async function subscribedTo(address: string, token: string | undefined): Promise<number> {
  const stop = new AbortController();
  const headers = { accept: "text/event-stream", ...(token === undefined ? {} : { authorization: `Bearer ${token}` }) };
  const { status } = await fetch(address, { headers, signal: stop.signal });
  stop.abort();
  return status;
}

/** The same over WebSocket, with the token in a header, or offered as a subprotocol as browsers must. */
export function socketTo(address: string, token: string | undefined, asProtocol: boolean): Promise<number> {
  const protocols = asProtocol && token !== undefined ? [SUBPROTOCOL, `bearer.${token}`] : [SUBPROTOCOL];
  const headers = asProtocol || token === undefined ? {} : { authorization: `Bearer ${token}` };
  const socket = new WebSocket(address.replace("http", "ws"), protocols, { headers });
  return new Promise((resolve, reject) => {
    socket.on("open", () => {
      socket.terminate();
      resolve(200);
    });
    socket.on("unexpected-response", (request, response) => {
      request.destroy();
      resolve(response.statusCode!);
    });
    socket.on("error", reject);
  });
}
