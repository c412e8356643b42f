import { runService } from "@millrace/eventlog/service.ts";
import { projectorService } from "./start.ts";

await runService(projectorService);
