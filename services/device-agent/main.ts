import { runService } from "@millrace/eventlog/service.ts";
import { deviceAgentService } from "./start.ts";

await runService(deviceAgentService);
