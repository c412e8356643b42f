/**
 * Peer: a bare ordered consumer whose messages go to every WebSocket as they are, one frame for all. No authorisation, no filter, no
 * position, no catching up. Arguments: NATS url, user, password, stream. Prints its port.
 */
import { jetstream } from "@nats-io/jetstream";
import { connect } from "@nats-io/transport-node";
import { WebSocketServer } from "ws";

const [url, user, pass, stream] = process.argv.slice(2);
const nc = await connect({ servers: url!, user: user!, pass: pass! });
const sockets = new WebSocketServer({ port: 0, host: "127.0.0.1", perMessageDeflate: false });
const consumer = await jetstream(nc).consumers.get(stream!, { deliver_policy: "new" } as never);
console.log((sockets.address() as { port: number }).port);
for await (const message of await consumer.consume({ max_messages: 1_000 })) {
  const frame = message.string();
  for (const socket of sockets.clients) socket.send(frame);
}
