/**
 * Peer: a bare `node:http` server that loads an aggregate by batch get, adds one commit with its expectation, and answers. No
 * authentication, no schema, no idempotency, no rules. Arguments: NATS url, user, password. Prints its port.
 */
import { createServer } from "node:http";
import { jetstreamManager } from "@nats-io/jetstream";
import { connect } from "@nats-io/transport-node";
import { barePublish } from "./bare-publish.ts";

const [url, user, pass] = process.argv.slice(2);
const nc = await connect({ servers: url!, user: user!, pass: pass! });
const jsm = await jetstreamManager(nc, { checkAPI: false });
const publish = barePublish(nc);
const encoder = new TextEncoder();
const decoder = new TextDecoder();
let n = 0;

async function command(id: string, title: string): Promise<unknown> {
  const subject = `evt.bare.00.item.${id}`;
  let last = 0;
  let version = 0;
  let state: unknown = {};
  try {
    for await (const message of await jsm.direct.getBatch("EVT_BARE", {
      seq: 1,
      next_by_subj: subject,
      batch: 1_000,
    })) {
      const commit = JSON.parse(decoder.decode(message.data));
      state = { ...(state as object), ...commit.events[0].data };
      version = commit.version;
      last = message.seq;
    }
  } catch {
    // No commit yet.
  }
  const commit = {
    version: version + 1,
    at: new Date().toISOString(),
    events: [{ type: "Retitled", v: 1, data: { title } }],
  };
  const seq = await publish(subject, encoder.encode(JSON.stringify(commit)), `bare-${process.pid}-${++n}`, last);
  return { ...(state as object), title, version: version + 1, seq };
}

const server = createServer((request, response) => {
  const chunks: Buffer[] = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", () => {
    const { title } = JSON.parse(Buffer.concat(chunks).toString("utf8"));
    command(request.url!.slice(1), title).then(
      (body) => response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(body)),
      (error) => response.writeHead(500).end(String(error)),
    );
  });
});
server.keepAliveTimeout = 60_000;
server.listen(0, "127.0.0.1", () => console.log((server.address() as { port: number }).port));
