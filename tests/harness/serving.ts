/** Repositories as clients reach them: by a Caddy, as a node's does, or by any server of files. */
import assert from "node:assert/strict";
import { createReadStream, existsSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { servedPlaces } from "@millrace/eventlog/served.ts";
import { loadCaddy, renderCaddy } from "@millrace/orchestrator/adapters/caddy.ts";
import { nodeDisk } from "@millrace/orchestrator/adapters/disk.ts";
import { findCaddy } from "../../local/binaries.ts";
import { startCaddy } from "../../local/caddy.ts";
import type { TestContext } from "./suite.ts";

/** @param gateway its address: private ones are asked for there @returns `http://host:port` */
export async function serveRepositories(context: TestContext, data: string, gateway: string): Promise<string> {
  const found = await findCaddy({ bring: true });
  if (found.path === undefined) return context.skip(found.why);
  const caddy = await startCaddy({ dataDir: join(data, "caddy") });
  context.defer(() => caddy.stop());
  const { admin, address: listen, storage } = caddy;
  const serving = { places: servedPlaces(data, "local"), gateway: new URL(gateway).host };
  const node = { disk: nodeDisk(data, "local"), listen, admin, storage, tls: "off", repositories: serving } as const;
  assert.deepEqual(await loadCaddy(admin, renderCaddy([], node)), { changed: true });
  return `http://${listen}`;
}

/** Files of folders, below their names. @returns the address, and paths that are answered 404 */
export async function serveFolders(context: TestContext, folders: Record<string, () => string>) {
  const lost = new Set<string>();
  const server = createServer((request, response) => {
    const [, name = "", ...rest] = decodeURIComponent(request.url!.split("?")[0]!).split("/");
    const path = join(folders[name]?.() ?? "/nowhere", ...rest);
    if (lost.has([name, ...rest].join("/")) || !existsSync(path)) return response.writeHead(404).end();
    return createReadStream(path)
      .on("error", () => response.writeHead(404).end())
      .pipe(response);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  context.defer(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, lost };
}
