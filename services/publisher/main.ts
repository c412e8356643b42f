import { runService } from "@millrace/eventlog/service.ts";
import { publisherService } from "./start.ts";

await runService(publisherService);
