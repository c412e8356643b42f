import { runService } from "@millrace/eventlog/service.ts";
import { orchestratorService } from "./start.ts";

await runService(orchestratorService);
