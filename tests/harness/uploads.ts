/** An upload that stands in the log without a node that holds it: for tests of who may see what. */
import { randomBytes } from "node:crypto";
import { makeId } from "@millrace/contracts/ids.ts";
import { upload } from "@millrace/domain/applications/upload.ts";
import { EventLog } from "@millrace/eventlog/eventlog.ts";
import { execute, ownContext } from "@millrace/eventlog/execute.ts";
import type { GatewayConfig } from "@millrace/gateway/config.ts";

/** @param organisation its id @returns the upload's */
export async function openUpload(config: GatewayConfig, organisation: string): Promise<string> {
  const { natsUrl: url, natsUser: user = "", natsPassword: password = "" } = config;
  const log = await EventLog.open({ url, user, password, name: "uploads" }, ["applications"]);
  try {
    const id = makeId(upload.prefix, Date.now(), randomBytes(10));
    const command = { do: "open", name: "canary.tar", bytes: 1, node: "local" } as const;
    await execute(log, { kind: upload, id, command }, ownContext("test", organisation));
    return id;
  } finally {
    await log.close();
  }
}
