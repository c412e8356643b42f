/**
 * Follows the events of Millrace over NATS, and goes on where it was after a break of any kind: its own, the network's, the server's.
 *
 *     NATS_URL=nats://127.0.0.1:4222 NATS_USER=sub_… NATS_PASSWORD=mrs_… POSITION_FILE=position node main.ts
 */
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { connect } from "@nats-io/transport-node";

const {
  NATS_URL = "nats://127.0.0.1:4222",
  NATS_USER = "",
  NATS_PASSWORD = "",
  POSITION_FILE = "position",
} = process.env;

interface Answer {
  readonly events: ReadonlyArray<{ readonly id: string; readonly type: string; readonly source: string }>;
  readonly position: string;
  readonly gap?: { readonly detail: string };
}

const nats = await connect({
  servers: NATS_URL,
  user: NATS_USER,
  pass: NATS_PASSWORD,
  inboxPrefix: `_INBOX.${NATS_USER}`, // Answers come nowhere else.
  maxReconnectAttempts: -1,
});
process.on("SIGTERM", () => void nats.close());

while (!nats.isClosed()) {
  const ask = existsSync(POSITION_FILE) ? { after: readFileSync(POSITION_FILE, "utf8") } : { from: "beginning" };
  try {
    // Waits up to 25 seconds for something to happen.
    const reply = await nats.request(`subscribers.${NATS_USER}.read`, JSON.stringify({ ...ask, waitMs: 25_000 }), {
      timeout: 30_000,
    });
    const refused = reply.headers?.get("Nats-Service-Error") ?? "";
    if (refused !== "") throw new Error(refused);
    const { events, position, gap } = reply.json<Answer>();
    if (gap !== undefined) console.error(gap.detail);
    for (const { type, id, source } of events) console.log(`${type} ${id} ${source}`);
    // After the work: a crash before this line has the events come again, never lost. Their ids tell which were had.
    writeFileSync(`${POSITION_FILE}.new`, position, { flush: true });
    renameSync(`${POSITION_FILE}.new`, POSITION_FILE);
  } catch (error) {
    if (nats.isClosed()) break;
    console.error(`${(error as Error).message}; trying again`);
    await new Promise((resolve) => setTimeout(resolve, 1_000));
  }
}
