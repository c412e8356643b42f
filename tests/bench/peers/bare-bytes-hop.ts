/**
 * What must be done, and nothing else, by bare node:http: a process that takes a stream and sends it on, and one that hashes it (SHA-256), writes it
 * to a file and syncs that before it answers; down again the same way. `<folder>`; says the port of the first.
 */
import { fork } from "node:child_process";
import { createHash } from "node:crypto";
import { createReadStream, createWriteStream } from "node:fs";
import { stat } from "node:fs/promises";
import { createServer, request } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { fileURLToPath } from "node:url";

const [folder = "", role = "front"] = process.argv.slice(2);
const listen = (server: ReturnType<typeof createServer>, say: (port: number) => void) => {
  server.requestTimeout = 0;
  server.listen(0, "127.0.0.1", () => say((server.address() as AddressInfo).port));
};

function holder(): void {
  const file = join(folder, "peer-hop.bin");
  const server = createServer(async (incoming, response) => {
    if (incoming.method === "PUT") {
      const hash = createHash("sha256");
      incoming.on("data", (chunk: Buffer) => hash.update(chunk));
      await pipeline(incoming, createWriteStream(file, { flush: true, highWaterMark: 1024 * 1024 }));
      response.writeHead(204, { "x-sha256": hash.digest("hex") }).end();
      return;
    }
    response.writeHead(200, { "content-length": (await stat(file)).size });
    await pipeline(createReadStream(file, { highWaterMark: 512 * 1024 }), response);
  });
  listen(server, (port) => process.send!(port));
  process.once("disconnect", () => process.exit());
}

function front(): void {
  const child = fork(fileURLToPath(import.meta.url), [folder, "holder"]);
  child.once("message", (port: number) => {
    const server = createServer((incoming, response) => {
      const { method, headers } = incoming;
      const length = headers["content-length"];
      const going = request(
        {
          host: "127.0.0.1",
          port,
          method,
          agent: false,
          headers: length === undefined ? {} : { "content-length": length },
        },
        (answer) => {
          response.writeHead(answer.statusCode!, answer.headers);
          answer.pipe(response);
        },
      );
      incoming.pipe(going);
    });
    listen(server, (own) => process.stdout.write(`${own}\n`));
  });
}

if (role === "holder") holder();
else front();
