/** Backups: what this node has on its disk that nobody can make anew, and the one process that makes them. */
import { resolve } from "node:path";
import { backUpNode, filesOf, folderHook, type NodeHook } from "@millrace/eventlog/backup/files.ts";
import type { NodePart } from "@millrace/eventlog/backup/manifest.ts";
import type { NodesWriting } from "@millrace/eventlog/backup/run.ts";
import { keepBackups } from "@millrace/eventlog/backup/schedule.ts";
import { type BackupPlace, backupPlaceOf } from "@millrace/eventlog/backup/settings.ts";
import type { EventLog } from "@millrace/eventlog/eventlog.ts";
import type { Logger } from "@millrace/eventlog/logging.ts";
import { listNodes } from "@millrace/eventlog/presence.ts";
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
    nodes: (writing) => nodeParts({ config, log }, place, writing),
  });
}

/** This node's files. Those of another node are not seen from here: they are said to be missing, and an earlier copy stays. */
async function nodeParts(
  { config, log }: Pick<Here, "config" | "log">,
  source: BackupPlace,
  { writer, before, signal }: NodesWriting,
): Promise<NodePart[]> {
  const dataFolder = resolve(config.data);
  const earlier = (node: string) => before?.nodes.find((part) => part.node === node);
  const own = await backUpNode({
    node: config.node,
    dataFolder,
    hooks: nodeHooks(dataFolder, config.node),
    writer,
    before: filesOf(source, earlier(config.node)),
    signal,
  });
  const others = new Set((await listNodes(log.nats)).map(({ node }) => node));
  for (const { node } of before?.nodes ?? []) others.add(node);
  others.delete(config.node);
  const missing = "its files are copied only by a backup that is made on that node";
  return [
    own,
    ...[...others].sort().map((node) => ({ files: 0, bytes: 0, lists: [], ...earlier(node), node, missing })),
  ];
}
