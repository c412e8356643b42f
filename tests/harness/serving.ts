/** A Caddy that serves the repositories of a folder, as a node's does. */
import assert from "node:assert/strict";
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
