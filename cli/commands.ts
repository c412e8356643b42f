/** Every command there is, in the order of the help. */
import { accessCommands } from "./commands/access.ts";
import { applicationCommands } from "./commands/applications.ts";
import { automationCommands } from "./commands/automation.ts";
import { backupCommands } from "./commands/backup.ts";
import { manifestCommands } from "./commands/build-manifests.ts";
import { buildCommands } from "./commands/builds.ts";
import { channelCommands } from "./commands/channels.ts";
import { deviceExportCommands } from "./commands/device-exports.ts";
import { deviceOperationCommands } from "./commands/device-operations.ts";
import { deviceSetCommands } from "./commands/device-sets.ts";
import { deviceSyncCommands } from "./commands/device-syncs.ts";
import { deviceTaskCommands } from "./commands/device-tasks.ts";
import { deviceCommands } from "./commands/devices.ts";
import { logCommands } from "./commands/log.ts";
import { logsCommands } from "./commands/logs.ts";
import { peopleCommands } from "./commands/members.ts";
import { metricsCommands } from "./commands/metrics.ts";
import { platformCommands } from "./commands/platform.ts";
import { processCommands } from "./commands/processes.ts";
import { repositoryCommands } from "./commands/repositories.ts";
import { shellCommands } from "./commands/shell.ts";
import { subscriberCommands } from "./commands/subscribers.ts";
import { webhookCommands } from "./commands/webhooks.ts";
import { workCommands } from "./commands/work.ts";
import type { Command, Group } from "./table.ts";

export const GROUPS: readonly Group[] = [
  { title: "One machine", commands: platformCommands },
  { title: "Applications", commands: [...applicationCommands, ...logsCommands] },
  {
    title: "Devices",
    commands: [
      ...deviceCommands,
      ...deviceTaskCommands,
      ...deviceSetCommands,
      ...deviceSyncCommands,
      ...deviceExportCommands,
      ...deviceOperationCommands,
    ],
  },
  { title: "Publishing", commands: [...repositoryCommands, ...buildCommands, ...manifestCommands] },
  { title: "Work", commands: workCommands },
  { title: "Automation", commands: [...automationCommands, ...processCommands] },
  { title: "Metrics", commands: metricsCommands },
  { title: "Integrations", commands: [...webhookCommands, ...channelCommands, ...subscriberCommands] },
  { title: "The log", commands: logCommands },
  { title: "Backups", commands: backupCommands },
  { title: "Access", commands: accessCommands },
  { title: "People", commands: peopleCommands },
  { title: "mill itself", commands: shellCommands },
];

export const COMMANDS: readonly Command[] = GROUPS.flatMap(({ commands }) => commands);
