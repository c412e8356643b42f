import { runService } from "@millrace/eventlog/service.ts";
import { gatewayService } from "./start.ts";

await runService(gatewayService);
