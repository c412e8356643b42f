/** Takes POST requests, and says how many came and between when: `GET /` answers `{count, ms}` since the last `DELETE /`. Prints its port. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

let count = 0;
let first = 0;
let last = 0;
const server = createServer((request, response) => {
  request.resume();
  request.on("end", () => {
    if (request.method === "POST") {
      last = performance.now();
      if (count++ === 0) first = last;
      response.writeHead(204).end();
    } else {
      const body = JSON.stringify({ count, ms: last - first });
      if (request.method === "DELETE") count = 0;
      response.writeHead(200).end(body);
    }
  });
});
server.listen(0, "127.0.0.1", () => console.log((server.address() as AddressInfo).port));
