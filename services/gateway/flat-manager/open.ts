/** The API of flat-manager, put together from the gateway's configuration. */
import { readFlatManagerConfig } from "@millrace/contracts/publishing/flat-manager.ts";
import { build, numberClaim } from "@millrace/domain/publishing/build.ts";
import { FreeNumbers } from "@millrace/eventlog/free-numbers.ts";
import type { MasterKey } from "@millrace/eventlog/sealing.ts";
import type { GatewayConfig } from "../config.ts";
import type { Gateway } from "../gateway.ts";
import { BuildUploads } from "../publishing/uploads.ts";
import { FlatManager } from "./api.ts";
import { Callers, ownKeyOf } from "./callers.ts";

/** @throws Error naming what is wrong with flat-manager's configuration, without its values */
export function openFlatManager(
  gateway: Gateway,
  config: GatewayConfig,
  masterKeys: readonly [MasterKey, ...MasterKey[]],
): FlatManager {
  const [first, ...older] = masterKeys;
  const { flatManagerConfig: text, flatManagerOrganisation, organisation, publicUrl } = config;
  const read = text === undefined ? undefined : readFlatManagerConfig(text);
  if (read !== undefined && "faults" in read) {
    const faults = read.faults.map(({ pointer, detail }) => `  ${pointer || "it"} ${detail}`).join("\n");
    throw new Error(`MILLRACE_FLAT_MANAGER_CONFIG is not what flat-manager reads:\n${faults}`);
  }
  const callers = new Callers(gateway, {
    config: read,
    organisation: flatManagerOrganisation ?? organisation,
    ownKeys: [ownKeyOf(first.bytes), ...older.map(({ bytes }) => ownKeyOf(bytes))],
  });
  const base = read?.["base-url"] ?? publicUrl;
  return new FlatManager({
    gateway,
    callers,
    numbers: new FreeNumbers(gateway.log, build.context, numberClaim),
    uploads: new BuildUploads(gateway),
    baseUrl: base === undefined ? undefined : base.replace(/\/+$/, ""),
  });
}
