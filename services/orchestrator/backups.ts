/** Backups: what this node has on its disk that nobody can make anew, and the one process that makes them. */
import { resolve } from "node:path";
import { backUpNode, filesOf, folderHook, type NodeBackup, type NodeHook } from "@millrace/eventlog/backup/files.ts";
import { NodeUnreachable, nodeAway } from "@millrace/eventlog/backup/files-away.ts";
import type { NodePart } from "@millrace/eventlog/backup/manifest.ts";
import type { NodesWriting } from "@millrace/eventlog/backup/run.ts";
import { keepBackups } from "@millrace/eventlog/backup/schedule.ts";
import { type BackupPlace, backupPlaceOf } from "@millrace/eventlog/backup/settings.ts";
import { ticketKeyOf } from "@millrace/eventlog/bytes-ticket.ts";
import type { EventLog } from "@millrace/eventlog/eventlog.ts";
import type { Logger } from "@millrace/eventlog/logging.ts";
import { listNodes } from "@millrace/eventlog/presence.ts";
import { parseMasterKeys } from "@millrace/eventlog/sealing.ts";
import type { OrchestratorConfig } from "./config.ts";

/** Releases, mirrors and sources are made anew from the log and from Git; what people have uploaded is not. */
export const nodeHooks = (dataFolder: string, node: string): NodeHook[] => [
  folderHook("uploads", dataFolder, `orchestrator/${node}/bytes/blobs`),
];

interface Here {
  readonly config: OrchestratorConfig;
  readonly log: EventLog;
  readonly logger: Logger;
  readonly version: string;
}

/** @throws TypeError when the settings do not fit each other */
export const placeOf = (config: OrchestratorConfig): BackupPlace | undefined => backupPlaceOf(config);

/** Resolves when the signal is aborted. */
export function backUp({ config, log, logger, version }: Here, place: BackupPlace, signal: AbortSignal): Promise<void> {
  return keepBackups({
    ...place,
    nats: log.nats,
    version,
    everyHours: config.backupHours,
    lines: config.backupLines,
    logger,
    signal,
    nodes: (writing) => nodeParts({ config, log, logger }, place, writing),
  });
}

/** Services that have on their nodes' disks what nobody can make anew. */
const SERVICES = ["orchestrator", "publisher"] as const;
type Service = (typeof SERVICES)[number];

/**
 * The files of every node: this one's own from its disk, those of others, and of other services, from their holders of bytes. Of who is away, or
 * breaks off, an earlier copy stays, and is said to be of before.
 */
export async function nodeParts(
  { config, log, logger }: Pick<Here, "config" | "log" | "logger">,
  source: Pick<BackupPlace, "target" | "keys">,
  { writer, before, signal }: NodesWriting,
): Promise<NodePart[]> {
  const dataFolder = resolve(config.data);
  const known = (node: string, service: Service) =>
    before?.nodes.find((one) => one.node === node && (one.service ?? SERVICES[0]) === service);
  const part = async (node: string, service: Service, from: Pick<NodeBackup, "hooks" | "read">): Promise<NodePart> => {
    const earlier = filesOf(source, known(node, service));
    const made = await backUpNode({ node, dataFolder, ...from, writer, before: earlier, signal });
    return service === SERVICES[0] ? made : { ...made, service };
  };
  const parts = [await part(config.node, "orchestrator", { hooks: nodeHooks(dataFolder, config.node) })];
  const there = await listNodes(log.nats);
  const names = new Set([...there.map(({ node }) => node), ...(before?.nodes ?? []).map(({ node }) => node)]);
  for (const node of [...names].sort()) {
    for (const service of SERVICES) {
      if (node === config.node && service === "orchestrator") continue;
      const holders = there.filter((one) => one.node === node && one.service === service);
      const earlier = known(node, service);
      if (holders.length === 0 && earlier === undefined) continue;
      const url = holders.find(({ bytes }) => bytes !== undefined)?.bytes;
      try {
        if (url === undefined) throw new NodeUnreachable(`${node} gives no bytes at the moment`);
        if (config.masterKey === undefined) throw new NodeUnreachable("the node that makes backups has no master key");
        const ticketKey = ticketKeyOf(parseMasterKeys(config.masterKey)[0].bytes);
        parts.push(await part(node, service, nodeAway({ url, node, ticketKey })));
      } catch (error) {
        if (!(error instanceof NodeUnreachable)) throw error;
        logger.warn({ err: error, node, service }, "files of a node are not in this backup");
        const missing = `${error.message}: its files are as the backup before had them`;
        const whose = service === SERVICES[0] ? {} : { service };
        parts.push({ files: 0, bytes: 0, lists: [], ...earlier, node, ...whose, missing });
      }
    }
  }
  return parts;
}
