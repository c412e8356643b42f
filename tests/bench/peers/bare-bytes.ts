/** Bare node:http, streaming to and from a file, synced before the answer: the peer of uploads and downloads. `<folder>` */
import { createReadStream, createWriteStream } from "node:fs";
import { stat } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";

const file = join(process.argv[2]!, "peer.bin");
const server = createServer(async (request, response) => {
  if (request.method === "PUT") {
    await pipeline(request, createWriteStream(file, { flush: true, highWaterMark: 1024 * 1024 }));
    response.writeHead(204).end();
    return;
  }
  response.writeHead(200, { "content-length": (await stat(file)).size });
  await pipeline(createReadStream(file, { highWaterMark: 512 * 1024 }), response);
});
server.requestTimeout = 0;
server.listen(0, "127.0.0.1", () => process.stdout.write(`${(server.address() as AddressInfo).port}\n`));
