/**
 * The bare upload: a body that says which files it brings and how long each is, then their content; written where they belong, nothing
 * looked at, the file system synced once before the answer. `<folder> [hop]`: with `hop` another process takes it and sends it on.
 */
import { fork, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import { createServer, request } from "node:http";
import type { AddressInfo } from "node:net";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const [folder = "", role = "holder"] = process.argv.slice(2);

function listen(server: ReturnType<typeof createServer>, say: (port: number) => void): void {
  server.requestTimeout = 0;
  server.listen(0, "127.0.0.1", () => say((server.address() as AddressInfo).port));
}

function holder(): void {
  const server = createServer(async (incoming, response) => {
    const whole = Buffer.concat(await Array.fromAsync(incoming as AsyncIterable<Buffer>));
    const content = 4 + whole.readUInt32BE(0);
    const files = JSON.parse(whole.toString("utf8", 4, content)) as [path: string, bytes: number][];
    let at = content;
    for (const [path, bytes] of files) {
      const to = join(folder, path);
      mkdirSync(dirname(to), { recursive: true });
      writeFileSync(to, whole.subarray(at, at + bytes));
      at += bytes;
    }
    await once(spawn("sync", ["--file-system", folder]), "close");
    response.end("ok");
  });
  listen(server, (port) => (process.send ? process.send(port) : process.stdout.write(`${port}\n`)));
  process.once("disconnect", () => process.exit());
}

function front(): void {
  const child = fork(fileURLToPath(import.meta.url), [folder, "holder"]);
  child.once("message", (port: number) => {
    const server = createServer((incoming, response) => {
      const length = incoming.headers["content-length"]!;
      const going = request(
        { host: "127.0.0.1", port, method: "POST", agent: false, headers: { "content-length": length } },
        (answer) => {
          response.writeHead(answer.statusCode!);
          answer.pipe(response);
        },
      );
      incoming.pipe(going);
    });
    listen(server, (own) => process.stdout.write(`${own}\n`));
  });
}

if (role === "hop") front();
else holder();
