/** A receiver of webhooks over real sockets: keeps what it was sent, and answers as it is told. */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createSecureServer } from "node:https";
import type { AddressInfo } from "node:net";
import { deferToEndOfFile } from "./suite.ts";

export interface Received {
  readonly path: string;
  readonly method: string;
  readonly headers: IncomingMessage["headers"];
  readonly text: string;
  /** Parsed, when it is JSON. */
  readonly body: any;
  /** `webhook-id` */
  readonly message: string;
}

/** @returns a status, or undefined when it has answered, or never will, by itself */
export type Answering = (
  received: Received,
  response: ServerResponse,
) => number | undefined | Promise<number | undefined>;

export interface Receiver {
  readonly url: string;
  readonly received: Received[];
  /** From now on; 204 at first. */
  answer(how: Answering): void;
  /** What came to a path. */
  at(path: string): Received[];
  stop(): Promise<void>;
}

const parsed = (text: string): unknown => {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
};

/** @param port a free one unless given @param tls over HTTPS, with these */
export async function startReceiver(port = 0, tls?: { cert: string; key: string }): Promise<Receiver> {
  const received: Received[] = [];
  let answering: Answering = () => 204;
  const take = (request: IncomingMessage, response: ServerResponse) => {
    const chunks: Buffer[] = [];
    request.on("error", () => {});
    response.on("error", () => {});
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const text = Buffer.concat(chunks).toString("utf8");
      const { url = "/", method = "", headers } = request;
      const one = {
        path: url,
        method,
        headers,
        text,
        body: parsed(text),
        message: String(headers["webhook-id"] ?? ""),
      };
      received.push(one);
      void Promise.resolve(answering(one, response)).then((status) => {
        if (status !== undefined) response.writeHead(status).end();
      });
    });
  };
  const server = tls === undefined ? createServer(take) : createSecureServer(tls, take);
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  const stop = () =>
    new Promise<void>((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  deferToEndOfFile(stop);
  return {
    url: `${tls === undefined ? "http" : "https"}://127.0.0.1:${(server.address() as AddressInfo).port}`,
    received,
    answer: (how) => {
      answering = how;
    },
    at: (path) => received.filter((one) => one.path === path),
    stop,
  };
}
