/**
 * Files of another node, over the same listener that takes its bytes: what its hooks tell is listed, and read one by one.
 *
 *     GET /files                    lines of JSON, a `NodeFile` each
 *     GET /files   x-path: <path>   the content of one; 404: it has gone, or is no file of a hook
 */
import type { FileHandle } from "node:fs/promises";
import { request as httpRequest, type IncomingMessage, type ServerResponse } from "node:http";
import { createInterface } from "node:readline";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { TICKET_MS, writeTicket } from "../bytes-ticket.ts";
import { type NodeFile, type NodeHook, openFile, safePath } from "./files.ts";

/** What tickets for this are about, and its place. */
export const FILES = "files";

export interface NodeFiles {
  readonly dataFolder: string;
  readonly hooks: ReadonlyArray<NodeHook>;
}

/** The holder's side; who asks has shown a ticket. */
export async function answerFiles(
  { dataFolder, hooks }: NodeFiles,
  request: IncomingMessage,
  response: ServerResponse,
  signal: AbortSignal,
): Promise<void> {
  const asked = request.headers["x-path"];
  if (asked === undefined) {
    response.writeHead(200, { "content-type": "application/x-ndjson" });
    const lines = async function* () {
      for (const hook of hooks) for await (const file of hook.files(signal)) yield `${JSON.stringify(file)}\n`;
      // What breaks off in the middle is no list.
      yield "end\n";
    };
    return pipeline(Readable.from(lines()), response);
  }
  const path = decodeURIComponent(String(asked));
  const hook = safePath(path) ? hooks.find((each) => each.has(path)) : undefined;
  if (hook === undefined) return void response.writeHead(404).end();
  let file: FileHandle;
  try {
    file = await openFile(dataFolder, hook, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    return void response.writeHead(404).end();
  }
  response.writeHead(200);
  await pipeline(file.createReadStream({ highWaterMark: 1024 * 1024 }), response);
}

export interface NodeAway {
  readonly url: string;
  readonly node: string;
  readonly ticketKey: Uint8Array;
}

/** It does not answer, or not to the end. */
export class NodeUnreachable extends Error {}

const ANSWER_MS = 10_000;
const IDLE_MS = 60_000;

/** What the other node has, as if it were here. @throws NodeUnreachable, while it is read */
export function nodeAway(at: NodeAway): NodeSource {
  const hook: NodeHook = {
    name: `files of ${at.node}`,
    has: () => true,
    async *files(signal) {
      const answer = await get(at, undefined, signal);
      if (answer === undefined) throw new NodeUnreachable(`${at.node} lists no files`);
      let whole = false;
      try {
        for await (const line of createInterface({ input: answer })) {
          whole = line === "end";
          if (!whole) yield fileOf(line);
        }
      } catch (error) {
        throw new NodeUnreachable(`${at.node}: ${(error as Error).message}`, { cause: error });
      }
      if (!whole) throw new NodeUnreachable(`${at.node} broke off`);
    },
  };
  return {
    hooks: [hook],
    async *read({ path }, signal) {
      const answer = await get(at, path, signal);
      if (answer === undefined) throw Object.assign(new Error(`${path} has gone`), { code: "ENOENT" });
      try {
        yield* answer as AsyncIterable<Buffer>;
      } catch (error) {
        throw new NodeUnreachable(`${at.node}: ${(error as Error).message}`, { cause: error });
      }
    },
  };
}

/** Where files of a node come from. */
export interface NodeSource {
  readonly hooks: ReadonlyArray<NodeHook>;
  readonly read: (file: NodeFile, signal: AbortSignal) => AsyncIterable<Buffer>;
}

function fileOf(line: string): NodeFile {
  const { path, bytes, mode, modifiedMs } = JSON.parse(line) as NodeFile;
  if (!safePath(path) || ![bytes, mode, modifiedMs].every(Number.isFinite)) throw new Error("it lists no files");
  return { path, bytes, mode, modifiedMs };
}

/** @returns undefined: 404 */
function get(
  { url, node, ticketKey }: NodeAway,
  path: string | undefined,
  signal: AbortSignal,
): Promise<IncomingMessage | undefined> {
  const ticket = writeTicket(ticketKey, {
    ...{ subject: "backup", organisation: "", resource: FILES, act: FILES, node, maxBytes: 0 },
    until: Date.now() + TICKET_MS,
  });
  const headers = {
    authorization: `Ticket ${ticket}`,
    ...(path === undefined ? {} : { "x-path": encodeURIComponent(path) }),
  };
  return new Promise((resolve, reject) => {
    const fail = (error: Error) => reject(new NodeUnreachable(`${node}: ${error.message}`, { cause: error }));
    const asking = httpRequest(`${url}/${FILES}`, { headers, agent: false, signal });
    asking.setTimeout(ANSWER_MS, () => asking.destroy(new Error("it does not answer")));
    asking.on("error", fail);
    asking.once("response", (answer) => {
      asking.setTimeout(IDLE_MS);
      if (answer.statusCode === 200) return resolve(answer);
      answer.resume();
      if (answer.statusCode === 404) resolve(undefined);
      else fail(new Error(`it answers ${answer.statusCode}`));
    });
    asking.end();
  });
}
